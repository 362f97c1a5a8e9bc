"""`reconcile state backup`, `restore` and `check`: copies of what this host remembers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import CommonOptions, State
from reconciler.errors import StateError

if TYPE_CHECKING:
    from reconciler.ports.store import OpenOrders, RunSummary, Store, StoreReader, StoreSummary
    from reconciler.store.factory import StorePlace

_COMPARED = 10_000
"""Newest runs of the previous state that are looked for in a backup."""

_TOGETHER = 200
"""Nodes that poll whose records are read at once."""

_NAMED = 5
"""Lost runs that are shown one by one."""


@dataclass(frozen=True, slots=True)
class _Records:
    """Records of a store that a backup of it may lack."""

    runs: tuple[RunSummary, ...]
    orders: OpenOrders


def back_up_state(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="New file.")],
    *,
    state: State = None,
    common: CommonOptions,
) -> int:
    """Copy the state into a file.

    Only this user can read the file. The watch and other runs continue meanwhile.
    """
    from reconciler.cli.state_folder import require_state
    from reconciler.store.factory import back_up_store
    from reconciler.text.one_line import clean_line

    folder = require_state(common.read_host(), state)
    summary = back_up_store(folder.store, file)
    common.open_terminal().say(
        f"{clean_line(str(file))}: {_describe_summary(summary)}\nState: {clean_line(str(folder))}\n"
    )
    return 0


def check_state(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="Backup to check; default: the state itself.", show_default=False
        ),
    ] = None,
    *,
    state: State = None,
    common: CommonOptions,
) -> int:
    """Check the state or a backup for damage.

    Reads every record, and prints a summary. Ends with 1 if something is damaged.
    """
    from reconciler.cli.state_folder import require_state
    from reconciler.descriptions.values import format_count
    from reconciler.store.factory import examine_backup, examine_store, open_reader, restore_store
    from reconciler.text.one_line import clean_line

    terminal = common.open_terminal()
    if file is not None:
        summary = examine_backup(file)
        with TemporaryDirectory(prefix="reconcile-") as folder_of_copy:
            restore_store(Path(folder_of_copy) / "state", file, prepare=_read_records_of_copy)
        terminal.say(f"{clean_line(str(file))}: no damage found; {_describe_summary(summary)}\n")
        return 0
    folder = require_state(common.read_host(), state)
    summary = examine_store(folder.store)
    with open_reader(folder.store) as store:
        unreadable = _read_all(store)
    if unreadable:
        raise StateError(
            f"{format_count(unreadable, 'record')} of nodes that poll cannot be decrypted with the key of "
            "this host: the key was replaced, or the records are damaged",
            remedy="restore host.key in the state folder; without it, nodes get new tokens and offers at the "
            "next run",
        )
    terminal.say(f"State: {clean_line(str(folder))}: no damage found; {_describe_summary(summary)}\n")
    return 0


def restore_state(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Backup, written by `reconcile state backup`.")
    ],
    *,
    state: State = None,
    common: CommonOptions,
) -> int:
    """Replace the state with a backup.

    Shows which records the backup lacks. Stop the watch first. All clusters are suspended until
    `reconcile resume`, and approvals are dropped. The previous state is kept in a file beside it.
    """
    from reconciler.cli.state_folder import require_state
    from reconciler.core.timestamps import format_minute
    from reconciler.host import aio
    from reconciler.host.actor import get_current_actor
    from reconciler.store import factory
    from reconciler.text.one_line import clean_line

    folder = require_state(common.read_host(), state)
    summary = factory.examine_backup(file)
    until = f"until {format_minute(summary.newest)} UTC" if summary.newest else "without any record"
    before = _read_previous_records(folder.store)
    lost: list[str] = []

    def prepare(store: Store) -> None:
        # Before the backup is put in place: no run may begin in the restored state without this suspension,
        # because it does not know which calls were made since.
        _read_all(store)
        lost.extend(_describe_lost(before, _read_records(store)) if before else [])
        reason = f"the state was restored from a backup {until}; what was done later is not known"
        aio.run_until_signal(store.suspend("", reason, get_current_actor()))

    _, aside = factory.restore_store(folder.store, file, prepare=prepare)
    terminal = common.open_terminal()
    lines = [
        f"Restored from {file}: {_describe_summary(summary)}",
        f"The backup has records {until}. It lacks later runs, orders and rejected revisions,"
        if summary.newest
        else "The backup has no records. It lacks all runs, orders and rejected revisions,",
        "and which one-time entries of fleet files were used since.",
        *(f"  no longer known: {line}" for line in lost),
        *([f"The previous state is in {aside}."] if aside else []),
        "All clusters are suspended, and all approvals are dropped.",
        "  → check `reconcile status SOURCE`, suspensions and approvals, then run `reconcile resume`",
        f"State: {folder}",
    ]
    terminal.say("".join(f"{clean_line(line)}\n" for line in lines))
    return 0


def _read_records_of_copy(store: Store) -> None:
    _read_all(store)  # the key of the host is not in a backup


def _read_all(store: StoreReader) -> int:
    """Read every record as the commands do: the database may be intact and still hold a damaged record.

    Returns:
        the number of records that cannot be decrypted.

    Raises:
        StateError: a record cannot be read.
    """
    from reconciler.host import aio

    async def read() -> int:
        unreadable = 0
        for fleet in await store.fleets():
            own = store.select_fleet(fleet.number)
            await own.read_memory()
            unreadable += await _count_unreadable(own)
        await store.read_memory()
        await store.orders()
        await store.list_past_orders(_COMPARED)
        for line in await store.runs(_COMPARED):
            await store.run(line.id)
        await store.operations(_COMPARED)
        return unreadable

    return aio.run_until_signal(read())


async def _count_unreadable(store: StoreReader) -> int:
    """Read what is known of nodes that poll; gives how many records of it cannot be decrypted."""
    from reconciler.ports.node_store import POLL

    unreadable = 0
    for cluster, found in groupby(await store.contacts(), lambda one: one.cluster):
        contacts = list(found)
        for start in range(0, len(contacts), _TOGETHER):
            together = contacts[start : start + _TOGETHER]
            mails = await store.mail(cluster, [one.node for one in together])
            for contact in together:
                mail = mails[contact.node]
                unreadable += sum(bool(one.offer.parts) and not one.parts for one in mail.offers)
                unreadable += len(contact.heard.keys() - mail.items.keys() - {POLL})
    return unreadable


def _describe_summary(summary: StoreSummary) -> str:
    from reconciler.core.timestamps import format_minute
    from reconciler.descriptions.values import format_count
    from reconciler.text.one_line import format_size

    newest = f", newest record {format_minute(summary.newest)} UTC" if summary.newest else ""
    left = (
        f", {format_count(summary.open_steps, 'step')} with an unknown outcome" if summary.open_steps else ""
    )
    if summary.open_operations:
        left += f", {format_count(summary.open_operations, 'open operation')}"
    return f"{format_count(summary.runs, 'run')}{newest}{left}, {format_size(summary.bytes)}"


def _read_previous_records(folder: StorePlace) -> _Records | None:
    """The records of the state that is replaced; None if there is none, or it cannot be read."""
    from reconciler.store.factory import has_store, open_reader

    if not has_store(folder):
        return None
    try:
        with open_reader(folder) as store:
            return _read_records(store)
    except StateError:  # a damaged state is why a backup is restored
        return None


def _read_records(store: StoreReader) -> _Records:
    from reconciler.host import aio

    return _Records(tuple(aio.run_until_signal(store.runs(_COMPARED))), aio.run_until_signal(store.orders()))


def _describe_lost(before: _Records, after: _Records) -> list[str]:
    """One line for each record of the previous state that the restored one lacks."""
    from reconciler.api.orders import describe_scope
    from reconciler.core.timestamps import format_minute

    kept = {run.id for run in after.runs}
    runs = [run for run in before.runs if run.id not in kept]
    lines = [f"run {run.id}, {format_minute(run.started)} UTC, revision {run.short}" for run in runs[:_NAMED]]
    lines += [f"{len(runs) - _NAMED:,} earlier runs"] if len(runs) > _NAMED else []
    lines += [
        f"suspension of {describe_scope(one)}: {one.reason}"
        for one in before.orders.suspensions
        if one not in after.orders.suspensions
    ]
    lines += [
        f"hold of {one.cluster}/{one.node} until {format_minute(one.until)} UTC: {one.actor.why}"
        for one in before.orders.holds
        if one not in after.orders.holds
    ]
    return lines + [
        f"rejected revision {one.short} of cluster {one.cluster}: {one.reason}"
        for one in before.orders.rejections
        if one not in after.orders.rejections
    ]
