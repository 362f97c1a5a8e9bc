"""What people are told: alerts, which begin and end, and single events; pure.

An alert is a state, such as nodes that are not read. It is told when it begins, again when it concerns more
than before, and once when it is over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.text.one_line import make_one_line

LONGEST_TITLE: Final = 300
"""Characters of the sentence of a notice."""

LONGEST_DETAIL: Final = 500
"""Characters of a line of its details, and of its remedy."""

MOST_DETAILS: Final = 5
"""Lines of its details."""

MOST_MEMBERS: Final = 5_000
"""Members of an alert that are told apart."""


class AlertSeverity(StrEnum):
    """How urgent a notice is for a person."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """A number that is higher for what is more urgent."""
        return list(AlertSeverity).index(self)


class AlertEvent(StrEnum):
    """What people can be told of."""

    FILES_INVALID = "files-invalid"
    SOURCE_UNREACHABLE = "source-unreachable"
    PLAN_REFUSED = "plan-refused"
    APPROVAL_NEEDED = "approval-needed"
    PASS_FAILED = "pass-failed"  # noqa: S105  (a pass over a cluster)
    RUN_FAILED = "run-failed"
    REVISION_REJECTED = "revision-rejected"
    NODE_STALLED = "node-stalled"
    NODES_UNREAD = "nodes-unread"
    DRIFT = "drift"
    EXPIRY = "expiry"
    STORE_FAILED = "store-failed"
    HOST_SILENT = "host-silent"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    HELD = "held"
    RELEASED = "released"
    ROLLED_BACK = "rolled-back"
    UNPINNED = "unpinned"
    APPROVED = "approved"
    RETRIED = "retried"
    PURGED = "purged"
    TOKEN = "token"  # noqa: S105  (a word)


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that people are told.

    Args:
        title: one sentence without a final stop.
        cluster: that it is about; empty if it is about none, or about all.
        details: further lines, such as reasons.
        remedy: what to do; may be empty.
        at: when it was found.
        is_over: whether it tells the end of an alert.
    """

    event: AlertEvent
    severity: AlertSeverity
    title: str
    at: datetime
    cluster: str = ""
    details: tuple[str, ...] = ()
    remedy: str = ""
    is_over: bool = False

    def __post_init__(self) -> None:
        # Texts may quote nodes, files and callers: bounded before they are stored.
        object.__setattr__(self, "title", make_one_line(self.title, LONGEST_TITLE))
        object.__setattr__(self, "remedy", make_one_line(self.remedy, LONGEST_DETAIL))
        lines = tuple(make_one_line(line, LONGEST_DETAIL) for line in self.details[:MOST_DETAILS])
        more = len(self.details) - len(lines)
        rest = (f"and {more:,} more",) if more > 0 else ()
        object.__setattr__(self, "details", (*lines, *rest))

    def encode(self) -> str:
        """As JSON, for the outbox."""
        return json.dumps({**asdict(self), "at": format_timestamp(self.at)})


def load_notice(text: str) -> Notice:
    """The notice that `encode` wrote."""
    plain: dict[str, Any] = json.loads(text)
    return Notice(
        AlertEvent(plain["event"]),
        AlertSeverity(plain["severity"]),
        plain["title"],
        parse_timestamp(plain["at"]),
        plain["cluster"],
        tuple(plain["details"]),
        plain["remedy"],
        plain["is_over"],
    )


@dataclass(frozen=True, slots=True)
class Alert:
    """A state that is true now.

    Args:
        members: what it concerns, such as names of nodes: a further one is told, one less is not.
        title: as in `Notice`.
        end_title: the sentence that tells its end; empty for `title` after "over:".
        cluster: as in `Notice`.
        subject: what it is about within the cluster, if it is told apart; such as a host.
    """

    event: AlertEvent
    severity: AlertSeverity
    title: str
    members: tuple[str, ...] = ("",)
    cluster: str = ""
    subject: str = ""
    details: tuple[str, ...] = ()
    remedy: str = ""
    end_title: str = ""

    @property
    def key(self) -> tuple[AlertEvent, str, str]:
        """By what an alert is known again."""
        return self.event, self.cluster, self.subject


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that people were told of and that is not over.

    Args:
        end_title: the sentence that tells its end.
        members: name -> since when it is absent; None for one that is present.
        since: when it began.
    """

    event: AlertEvent
    cluster: str
    subject: str
    severity: AlertSeverity
    end_title: str
    since: datetime
    members: Mapping[str, datetime | None] = field(default_factory=dict)

    @property
    def key(self) -> tuple[AlertEvent, str, str]:
        """As that of `Alert`."""
        return self.event, self.cluster, self.subject

    @property
    def absent_since(self) -> datetime | None:
        """Since when the member is absent that was absent first; None if all are present."""
        return min((since for since in self.members.values() if since is not None), default=None)


@dataclass(frozen=True, slots=True)
class AlertChanges:
    """What becomes of open alerts.

    Args:
        written: new alerts, and those that have changed.
        ended: those that are over.
        notices: what people are told.
    """

    written: tuple[OpenAlert, ...] = ()
    ended: tuple[OpenAlert, ...] = ()
    notices: tuple[Notice, ...] = ()


def compare_alerts(
    known: Iterable[OpenAlert], found: Iterable[Alert], now: datetime, steady: timedelta
) -> AlertChanges:
    """What changes when these alerts are true now.

    Args:
        known: the open alerts that could be among `found`; one that is not there ends.
        found: what is true now.
        now: the time.
        steady: how long something must be absent to be over, so that what comes and goes is told once.
    """
    open_ones = {one.key: one for one in known}
    written: list[OpenAlert] = []
    ended: list[OpenAlert] = []
    notices: list[Notice] = []
    true_now = {alert.key: alert for alert in found}
    for key, alert in true_now.items():
        before = open_ones.get(key)
        after = _continue_alert(before, alert, now, steady)
        if after != before:
            written.append(after)
        is_worse = before is not None and alert.severity.rank > before.severity.rank
        if before is None or is_worse or after.members.keys() - before.members.keys():
            notices.append(_make_notice(alert, now))
    for key, before in open_ones.items():
        if key in true_now:
            continue
        members = _age_members(before.members, (), now, steady)
        if not members:
            ended.append(before)
            notices.append(
                Notice(before.event, before.severity, before.end_title, now, before.cluster, is_over=True)
            )
        elif members != before.members:
            written.append(replace(before, members=members))
    return AlertChanges(tuple(written), tuple(ended), tuple(notices))


def _continue_alert(before: OpenAlert | None, alert: Alert, now: datetime, steady: timedelta) -> OpenAlert:
    return OpenAlert(
        alert.event,
        alert.cluster,
        alert.subject,
        alert.severity,
        make_one_line(alert.end_title or f"over: {alert.title}", LONGEST_TITLE),
        before.since if before is not None else now,
        _age_members(before.members if before is not None else {}, alert.members, now, steady),
    )


def _age_members(
    before: Mapping[str, datetime | None], present: Sequence[str], now: datetime, steady: timedelta
) -> dict[str, datetime | None]:
    """Members that are present, and those that have been absent for less than `steady`."""
    after: dict[str, datetime | None] = dict.fromkeys(present[:MOST_MEMBERS])
    for name, since in before.items():
        if name not in after and now - (absent := since or now) < steady:
            after[name] = absent
    return after


def _make_notice(alert: Alert, now: datetime) -> Notice:
    return Notice(alert.event, alert.severity, alert.title, now, alert.cluster, alert.details, alert.remedy)
