"""Behaviours of the library that its documents leave open; pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class UnknownNames(StrEnum):
    """What a node does with a connection of a name that it does not have among its peers."""

    JOIN = "join"
    REFUSE = "refuse"


class UnknownManager(StrEnum):
    """How the API answers for a manager that the process does not have."""

    ERROR = "error"
    NOT_FOUND = "not found"
    EMPTY = "empty"


class DuplicateName(StrEnum):
    """Which of two connections of one name is kept."""

    SMALLER_ADDRESS = "smaller address"
    FIRST = "first"


class AdminRequest(StrEnum):
    """Whether an admin call reaches the application, which then may do anything; the library does nothing."""

    LOGGED = "logged"
    HANDED_ON = "handed on"


@dataclass(frozen=True, slots=True)
class Choices:
    """What nodes do where the documents are silent; by default what was measured.

    Args:
        unknown_names: what becomes of a connection of an unknown name.
        unknown_manager: how the API answers for an unknown manager.
        duplicate_name: which of two connections of one name is kept.
        admin_request: where an admin call ends.
    """

    unknown_names: UnknownNames = UnknownNames.JOIN
    unknown_manager: UnknownManager = UnknownManager.ERROR
    duplicate_name: DuplicateName = DuplicateName.SMALLER_ADDRESS
    admin_request: AdminRequest = AdminRequest.LOGGED


DEFAULTS: Final = Choices()

CAUTIOUS: Final = Choices(unknown_names=UnknownNames.REFUSE)
"""What plans are made by: a link counts only if both nodes have it, which holds under every choice."""
