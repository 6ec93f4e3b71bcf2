"""What the numbers mean: alerts. Knows the bus and the events, and whatever it is told to tell."""
