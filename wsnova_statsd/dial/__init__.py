"""The way to a server: its URL, name, TCP, proxies, TLS, and how HTTP answers. Knows no client and no event."""
