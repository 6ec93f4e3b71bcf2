"""Boards, monitors and SLOs, made from the definitions: what is queried as plain data, and renderers of it."""
