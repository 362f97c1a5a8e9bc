"""Text for people: one line, suggestions, sizes; pure, and below everything else."""
