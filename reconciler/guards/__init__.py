"""Guards for every product: pure functions that check a plan before the first write."""
