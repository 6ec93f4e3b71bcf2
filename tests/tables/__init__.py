"""The tables of README.md and examples/ that are made from the code's own definitions and signatures."""
