"""Says how often whom may call: the rate limit service that the edge asks, and the plans behind it."""
