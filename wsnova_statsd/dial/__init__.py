"""The way to a server: its URL, name, TCP, proxies, TLS, and HTTP answers. It knows no client and no event."""
