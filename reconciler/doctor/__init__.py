"""Checks of a host and of what it reaches: probes gather facts, rules judge them; nothing is written."""
