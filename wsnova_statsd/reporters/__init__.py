"""Reporters: they ship what the store counted to the Datadog Agent and others."""
