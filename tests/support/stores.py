"""The kinds of stores there are, for tests that hold for each of them."""

from pathlib import Path


class SqliteKind:
    """Stores in a file."""

    def url(self, folder: Path) -> str:
        return f"sqlite://{folder}"

    def lose_locks(self, folder: Path) -> None:
        """What no holder notices: its lock is gone, and another one can have it."""
        for file in (folder / "locks").iterdir():
            file.unlink()


KINDS = {"sqlite": SqliteKind()}
"""A new kind of store is one more line here."""
