"""The client: a connection that survives and tells what it lives through. Knows the bus, never the metrics."""
