"""Reporters: they send what the store counted to the Datadog Agent and to Prometheus, and log events."""
