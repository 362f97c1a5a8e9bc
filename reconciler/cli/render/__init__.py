"""Renderings of plans, reports, history and status: pure functions from data to text.

Belongs here: sentences, layout, limits of length, masking, escaping. Never here: printing, or a decision
about nodes.
"""
