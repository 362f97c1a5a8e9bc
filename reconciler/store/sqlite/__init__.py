"""The store of one host: journal, history, facts and outbox in one SQLite file."""
