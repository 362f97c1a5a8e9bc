"""Judges facts about the store, and about the signatures of the source; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.doctor.facts import SignerFacts
from reconciler.doctor.findings import (
    DoctorFinding,
    Topic,
    report_error,
    report_ok,
    report_unchecked,
    report_warning,
)
from reconciler.ports.store_condition import StoreCondition
from reconciler.text.one_line import join_some

_MOST_NAMED: Final = 5
_DAMAGED: Final = "restore a backup: `reconcile state restore FILE`; nodes are not affected"


def judge_store(found: StoreCondition) -> Iterator[DoctorFinding]:
    """Whether the records can be read and written."""
    topic, where = Topic.STORE, found.place
    if found.is_foreign:
        yield report_error(
            topic, "it belongs to another program", "move it away, or give another folder with --state", where
        )
        return
    if found.problems:
        faults = join_some(found.problems, _MOST_NAMED)
        yield report_error(topic, f"it is damaged: {faults}", _DAMAGED, where)
    if found.is_standby:
        yield report_error(
            topic,
            "it only reads: this server is a standby",
            "name the primary server, or all of them with `?target_session_attrs=read-write`",
            where,
        )
    if found.missing_rights:
        yield report_error(
            topic,
            f"this user may not {join_some(found.missing_rights, _MOST_NAMED)}",
            "let the user own the database, or grant these rights",
            where,
        )
    yield from _judge_schema(found)
    if not found.is_whole:
        yield report_unchecked(
            topic, "it is large: not all of it was examined", "give more time with --timeout", where
        )
    if found.holders:
        yield report_ok(topic, f"in use: {join_some(found.holders, _MOST_NAMED)}", where)


def _judge_schema(found: StoreCondition) -> Iterator[DoctorFinding]:
    topic, where = Topic.STORE, found.place
    server = f"PostgreSQL {found.server}, " if found.server else ""
    if not found.is_present:
        if not found.problems:
            yield report_ok(topic, f"{server}no records yet: the first run makes the tables", where)
    elif found.readable_from > found.supported:
        yield report_error(
            topic,
            f"a newer version of this program wrote it (schema version {found.version}, this program "
            f"supports {found.supported})",
            "install the newer version on this host",
            where,
        )
    elif found.version < found.supported:
        yield report_warning(
            topic,
            f"{server}schema version {found.version}: this program will migrate it to {found.supported} when "
            "it writes next",
            "make a backup first, if an older program may have to use it again: docs/upgrade.md",
            where,
        )
    elif not found.problems:
        yield report_ok(topic, f"{server}schema version {found.version}, no fault found", where)


def judge_signers(facts: SignerFacts) -> Iterator[DoctorFinding]:
    """Whether signatures can be verified."""
    topic = Topic.SOURCE
    missing = sorted(name for name, is_there in facts.programs.items() if not is_there)
    if missing:
        yield report_error(
            topic,
            f"{facts.kind} signatures are required, and {join_some(missing, _MOST_NAMED)} is not installed",
            "install it, in a folder of PATH",
        )
    if not facts.keys:
        yield report_error(
            topic,
            "the file of accepted signers has no key: every revision is refused",
            "add the keys of those who may sign",
            facts.file,
        )
    elif not missing:
        yield report_ok(topic, f"{facts.kind} signatures are required, and can be verified", facts.file)
