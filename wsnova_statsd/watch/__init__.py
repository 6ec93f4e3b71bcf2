"""`wsnova-statsd watch`: receives DogStatsD as the Agent does, and shows it in a terminal, a browser or a pipe."""
