"""The client: a connection that reconnects and emits events about itself. It knows the bus, never the metrics."""
