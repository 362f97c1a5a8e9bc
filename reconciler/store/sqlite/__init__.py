"""The store of one host: journal, history, facts and outbox in one SQLite file."""

FILE = "state.sqlite"
"""The store's file in the state folder."""
