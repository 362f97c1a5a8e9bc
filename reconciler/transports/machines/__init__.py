"""Machines that run programs: this one, and those of nodes over SSH."""
