"""Generators of the reference pages in docs/; run from the repository's root: `python -m tools.NAME`."""
