"""Where M2's pages are silent: the behaviours a node may have, each a named option of the simulator."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class AllowListMatch(StrEnum):
    """Which allowList entries count for a caller whom several name."""

    FIRST = "first"
    """The first in the list's order, as in most access lists."""

    UNION = "union"
    """All of them: the caller holds every permission that any of the roles gives."""


class UnlistedAnswer(StrEnum):
    """How a caller is turned away whom no allowList entry names."""

    REFUSED = "refused"
    """401, as M2's page says of a request without permission."""

    CLOSED = "closed"
    """The connection is closed without an answer, as its older sibling STON does."""


class SettingAnswer(StrEnum):
    """What `/setting/setting.json` shows while restart-only fields wait."""

    ASKED = "asked"
    """The file as it was delivered last."""

    SERVICE = "service"
    """What is in effect: the waiting fields with their old values."""


class PortChange(StrEnum):
    """What a changed `api.port` does."""

    STAYS = "stays"
    """Nothing: the node goes on listening where its fleet file says."""

    RESTART = "restart"
    """The node listens on the new port from its next restart on."""


class UploadBehaviour(StrEnum):
    """What a node makes of an upload that it could take."""

    WHOLE = "whole"
    ADDS = "adds"
    """It adds a key of its own, and answers `OK`."""

    CASE = "case"
    """It writes the names of its hosts in capitals, and answers `OK`."""

    KEEPS = "keeps"
    """It keeps the setting that it has, and answers `OK`."""

    REFUSES = "refuses"
    """It answers E0004: bad content."""

    REDIRECTS = "redirects"
    """It redirects the upload elsewhere."""


class BackupBehaviour(StrEnum):
    """Whether a node has its past settings for `/setting/download`."""

    KEPT = "kept"
    LOST = "lost"
    """The history names a file that is not there: 404."""

    DISABLED = "disabled"
    """The backup function is off: 406."""


class VacantAnswer(StrEnum):
    """How a node without a setting answers 404 to a read of it; the pages show no body."""

    EMPTY = "empty"
    """Without a body."""

    TEXT = "text"
    """A line of plain text, as many web servers."""

    PAGE = "page"
    """A web page."""

    ENVELOPE = "envelope"
    """The object that its other JSON answers are."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Where the product's pages are silent: which of the possible behaviours a node shows.

    Args:
        match: which allowList entries count.
        unlisted: how a caller in no entry is turned away.
        open_without_list: whether a missing or empty allowList admits everybody as `defaultRole`;
            otherwise it admits nobody.
        shown: what `/setting/setting.json` shows while fields wait for a restart.
        port: what a changed `api.port` does.
        factory: whether a node that has not converged starts with the factory's setting; otherwise
            it has loaded none and answers 404.
        vacant: how a node that has loaded none answers.
        late: for how many more requests a node that accepted a change still shows its former state.
        takes: what a node makes of an upload.
        backup: whether past settings can be downloaded.
        licence_valid: whether `/get/license` says so.
        caller: the address that every request counts as coming from; empty for its real one. It lets
            a fleet whose allowLists name production networks be tried on loopback.
    """

    match: AllowListMatch = AllowListMatch.FIRST
    unlisted: UnlistedAnswer = UnlistedAnswer.REFUSED
    open_without_list: bool = True
    shown: SettingAnswer = SettingAnswer.ASKED
    port: PortChange = PortChange.STAYS
    factory: bool = True
    vacant: VacantAnswer = VacantAnswer.EMPTY
    late: int = 0
    takes: UploadBehaviour = UploadBehaviour.WHOLE
    backup: BackupBehaviour = BackupBehaviour.KEPT
    licence_valid: bool = True
    caller: str = ""


DEFAULTS: Final = Choices()
"""What the simulator does unless it is told otherwise."""
