"""One WebSocket connection: the upgrade, frames, their meaning, and the I/O. It knows no client and no event."""
