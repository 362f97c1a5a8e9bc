"""Guards that hold for every product: pure functions that look at a plan before the first write."""
