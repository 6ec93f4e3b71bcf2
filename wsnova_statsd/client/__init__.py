"""The client: a connection that reconnects, and emits events for what happens to it. Knows the bus, never the
metrics."""
