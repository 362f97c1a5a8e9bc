"""The records of every store, in SQL that SQLite and PostgreSQL both understand.

Belongs here: functions over a `Transaction`, and the store that calls them. Never here: how a database is
opened, locked and migrated; that is in the package of each database.
"""

KEY = "host.key"
"""The file with the key in the state folder: an age identity that only its owner can read."""
