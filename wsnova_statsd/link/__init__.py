"""One WebSocket connection: the upgrade, frames, what they mean, and the I/O of it. Knows no client and no event."""
