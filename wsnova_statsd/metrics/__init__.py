"""Metrics: definitions as data, the store that adds up, the registry. Knows the bus, never the client."""
