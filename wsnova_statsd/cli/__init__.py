"""The command line: `main` parses, every command is a module of its own with `register` and `run`."""
