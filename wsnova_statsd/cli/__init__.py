"""The command line: `main` parses, each command is a separate module with `register` and `run`."""
