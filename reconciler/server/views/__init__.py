"""What people and programs look at in a watch: plain data for the pages and the JSON API (pure).

Belongs here: which facts are shown, in which words, which page of a list. Texts of nodes are masked before
they get here. Never here: HTML, HTTP, or an act.
"""
