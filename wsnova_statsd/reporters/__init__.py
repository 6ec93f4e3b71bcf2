"""Ways out: what the store counted, told to the Datadog Agent and others."""
