"""The store of several hosts: journal, history, facts and outbox in one PostgreSQL database, with leases.

Belongs here: what differs from SQLite, which is connections, errors, migrations and leases.
"""
