"""wsnova_listen."""
