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

    COUNTS = "counts"
    """It writes a count of its own into each host, which grows whenever its setting is read."""

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


class FirstPoll(StrEnum):
    """`If-Modified-Since` of a first poll, for which there is no earlier answer."""

    MISSING = "missing"
    """The header is left out."""

    EMPTY = "empty"
    """The header has no value."""


class RememberedTime(StrEnum):
    """What a remembered `Last-Modified` belongs to."""

    URL = "url"
    """The URL that answered: another URL is polled for the first time."""

    FEATURE = "feature"
    """The feature: a new URL is polled with the time of the earlier one."""


class RepeatedPurge(StrEnum):
    """What a node does with a purge whose `userdata` it knows."""

    AGAIN = "again"
    """It purges again, and reports again."""

    ONCE = "once"
    """It reports the first result again, and purges nothing."""


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
        retention: number of earlier settings that a node keeps.
        first_poll: `If-Modified-Since` of a first poll.
        remembered: what a remembered `Last-Modified` belongs to.
        forgets: whether a node forgets `Last-Modified` at its restart.
        beat_headers: whether a heartbeat has the headers of a poll too.
        download_attempts: how often a node tries to download the package of one feed.
        report_attempts: how often a node tries to send one report.
        repeated_purge: what a node does with a purge whose `userdata` it knows.
        propagates_feed: whether a purge from a feed is propagated, as one by a call of the API is.
        queues_purges: whether `/command/async/purge` answers 200 without counts, which follow in the report.
        cached_files: number of files that each virtual host has in its cache at first.
        keeps_connection: whether a node uses its connection to the central server again.
        clock_spread: seconds by which the clocks of nodes differ, so that not all poll at the same moment.
        bus_resumes: whether a node continues where its group was the last time; otherwise it begins again at
            each start, as `fromBeginning` says.
        bus_repeats: how often a node handles a message of a bus again.
        bus_delay: seconds until a node handles a message of a bus.
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
    retention: int = 100
    first_poll: FirstPoll = FirstPoll.MISSING
    remembered: RememberedTime = RememberedTime.URL
    forgets: bool = True
    beat_headers: bool = False
    download_attempts: int = 1
    report_attempts: int = 1
    repeated_purge: RepeatedPurge = RepeatedPurge.AGAIN
    propagates_feed: bool = False
    queues_purges: bool = False
    cached_files: int = 0
    keeps_connection: bool = True
    clock_spread: int = 0
    bus_resumes: bool = True
    bus_repeats: int = 0
    bus_delay: int = 0


DEFAULTS: Final = Choices()
"""The default behaviour of the simulator."""
