"""What the numbers mean: alerts, KPIs, samples of the system. Knows the bus and the events."""
