"""Renderings of plans and reports for people and programs: pure functions from data to text.

Belongs here: words, layout, bounds, masking, escaping. Never here: printing, colours nobody asked for,
a decision about nodes.
"""
