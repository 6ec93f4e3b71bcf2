"""Integrations with frameworks, servers and libraries, one file each; nothing here is imported until it is used."""
