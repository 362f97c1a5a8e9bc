"""The ways to a node, bounded in time, size and number, their errors in plain words."""
