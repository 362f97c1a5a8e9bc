"""Possible behaviours of a node where M2's pages say nothing; each is an option of the simulator."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class AllowListMatch(StrEnum):
    """Which allowList entries count for a caller that several entries match."""

    FIRST = "first"
    """The first one, as in most access lists."""

    UNION = "union"
    """All of them: the caller has every permission of any of the roles."""


class UnlistedAnswer(StrEnum):
    """The answer to a caller that no allowList entry matches."""

    REFUSED = "refused"
    """401, which M2's page gives for a request without permission."""

    CLOSED = "closed"
    """The connection is closed without an answer, as by the older product STON."""


class SettingAnswer(StrEnum):
    """What `/setting/setting.json` shows while restart-only fields wait for a restart."""

    ASKED = "asked"
    """The file that was delivered last."""

    SERVICE = "service"
    """The setting in effect: the waiting fields with their old values."""


class PortChange(StrEnum):
    """The effect of a changed `api.port`."""

    STAYS = "stays"
    """None: the node continues to listen on its port in the fleet file."""

    RESTART = "restart"
    """The node listens on the new port from its next restart on."""


class UploadBehaviour(StrEnum):
    """What a node does with a valid upload."""

    WHOLE = "whole"
    """It loads the setting as it is."""

    ADDS = "adds"
    """It adds a key, and answers `OK`."""

    CASE = "case"
    """It changes the names of its hosts to capitals, and answers `OK`."""

    KEEPS = "keeps"
    """It keeps its previous setting, and answers `OK`."""

    REFUSES = "refuses"
    """It answers E0004: bad content."""

    REDIRECTS = "redirects"
    """It redirects the upload elsewhere."""


class BackupBehaviour(StrEnum):
    """Whether a node has its earlier settings for `/setting/download`."""

    KEPT = "kept"
    LOST = "lost"
    """A file of the history is missing: 404."""

    DISABLED = "disabled"
    """The backup function is disabled: 406."""


class VacantAnswer(StrEnum):
    """The body of the 404 of a node without a setting; M2's pages show none."""

    EMPTY = "empty"
    """Without a body."""

    TEXT = "text"
    """A line of plain text, as from many web servers."""

    PAGE = "page"
    """A web page."""

    ENVELOPE = "envelope"
    """The object of its other JSON answers."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The behaviour of a node where M2's pages say nothing.

    Args:
        match: which allowList entries count.
        unlisted: the answer to a caller that no entry matches.
        open_without_list: whether a missing or empty allowList admits everybody as `defaultRole`;
            otherwise it admits nobody.
        shown: what `/setting/setting.json` shows while fields wait for a restart.
        port: the effect of a changed `api.port`.
        factory: whether a node that has not converged starts with the factory's setting; otherwise
            it has no setting and answers 404.
        vacant: the answer of a node without a setting.
        late: for how many more requests a node that accepted a change still shows its previous state.
        takes: what a node does with an upload.
        backup: whether earlier settings can be downloaded.
        licence_valid: whether `/get/license` shows a valid licence.
        caller: the address from which every request counts as coming; empty for the real one. With it, a
            fleet whose allowLists have production networks can be tried on loopback.
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
"""The default behaviour of the simulator."""
