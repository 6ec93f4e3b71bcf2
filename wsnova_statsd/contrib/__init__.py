"""Helpers for what an application runs in, one file each; nothing here is imported unless it is asked for."""
