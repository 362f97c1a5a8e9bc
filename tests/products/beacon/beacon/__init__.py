"""Beacons: lights that flash one pattern together, as a product of the reconciler."""
