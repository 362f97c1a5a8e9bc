"""After a run: whether the nodes wrote their backups; what is missing is a warning, never a failed run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import ReconcilerError, UsageError
from reconciler.host.aio import gather_all
from reconciler.host.host import Host
from reconciler.ports.backups import BACKUP_MISSING, BACKUP_UNKNOWN, ExpectedBackup
from reconciler.rollout.gates import Rest
from reconciler.sources.content_limits import LIMITS
from reconciler.sources.s3.backups import list_newest_backups
from reconciler.sources.s3.client import S3Client
from reconciler.sources.s3.location import get_backup_time, parse_backup_time, parse_s3_location
from reconciler.sources.unpack import unpack_archive

if TYPE_CHECKING:
    from reconciler.core.guard import GuardContext
    from reconciler.planning.plan_pass import Drivers

_PAUSES: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each look: a node needs a moment to load the setting and to write the backup."""

_LONGEST: Final = 30.0
_SKEW: Final = timedelta(minutes=2)
"""How far the clock of this host may be ahead of the server's."""

_REQUEST: Final = 10.0


@dataclass(frozen=True, slots=True)
class BackupCheck:
    """Looks for the backups of the clusters that a run changed.

    Args:
        drivers: kind -> product.
        host: has the accounts that may read buckets, and their keys.
        since: when the run began.
        rest: waits between two looks.
        stop: ends the waiting.
    """

    drivers: Drivers
    host: Host
    since: datetime
    rest: Rest
    stop: asyncio.Event

    async def find_missing(
        self,
        contexts: Collection[GuardContext],
        delivered: Mapping[str, frozenset[str]],
        is_partial: Callable[[str], bool],
    ) -> tuple[Diagnostic, ...]:
        """What is missing, or cannot be known, of the backups of nodes to which something was delivered.

        Args:
            contexts: the clusters of the run.
            delivered: cluster -> its nodes that have loaded what was delivered.
            is_partial: whether the run was restricted to some nodes of a cluster.
        """
        looks = [
            self._check(context, expected)
            for context in contexts
            if (done := delivered.get(context.plan.cluster))
            for expected in self.drivers[context.plan.kind].list_expected_backups(context.desired)
            if _is_due(expected, done, is_partial=is_partial(context.plan.cluster))
        ]
        return tuple(one for one in await gather_all(looks) if one is not None)

    async def _check(self, context: GuardContext, expected: ExpectedBackup) -> Diagnostic | None:
        cluster = context.plan.cluster
        who = f"the node with the hostname {expected.hostname}" if expected.hostname else "every node"
        if not expected.is_automatic:
            return Diagnostic(
                Severity.NOTE,
                BACKUP_UNKNOWN,
                f"{who} backs up only when asked (`auto` is false), so no backup was looked for",
                "set `auto` to true for a backup after each change",
                target=cluster,
            )
        shown = f"s3://{expected.bucket}/{expected.path}".rstrip("/")
        try:
            if not expected.bucket:
                return None  # the setting was checked; a secret as its bucket is not looked into
            location = parse_s3_location(shown, self.host.config.aws)
        except UsageError as error:
            return Diagnostic(
                Severity.NOTE,
                BACKUP_UNKNOWN,
                f"it is not known whether {who} wrote its backup to {shown}: {error.message}",
                error.remedy,
                target=cluster,
            )
        client = S3Client(location, self.host.environment, seconds=_REQUEST)
        driver = self.drivers[context.plan.kind]

        def compare(files: Mapping[str, bytes]) -> str:
            return driver.find_backup_difference(context.desired, expected, files)

        try:
            wrong = await self._wait_for_backup(client, expected, compare)
        except ReconcilerError as error:
            message = f"it is not known whether {who} wrote its backup to {shown}: {error.message}"
            return Diagnostic(Severity.WARNING, BACKUP_UNKNOWN, message, error.remedy, target=cluster)
        if not wrong:
            return None
        return Diagnostic(
            Severity.WARNING,
            BACKUP_MISSING,
            f"{who} should have backed up its setting to {shown}, and {wrong}",
            "M2 tries again until it succeeds: look again later; then check the node's log, the keys of its "
            "connection, and that `hostname` is the name of a node",
            target=cluster,
        )

    async def _wait_for_backup(
        self, client: S3Client, expected: ExpectedBackup, compare: Callable[[Mapping[str, bytes]], str]
    ) -> str:
        """What is wrong with the newest backup at the last look; empty if it is good.

        Raises:
            ReconcilerError: the bucket cannot be read.
        """
        wrong, waited = "there is no backup", 0.0
        seen: dict[str, str] = {}
        for pause in _PAUSES:
            if self.stop.is_set() or waited + pause > min(expected.seconds, _LONGEST):
                break
            await self.rest(pause, self.stop)
            waited += pause
            keys = await list_newest_backups(client)
            newest = max(keys, key=get_backup_time, default="")
            if not newest:
                continue
            if newest not in seen:
                seen[newest] = await self._compare(client, newest, compare)
            wrong = seen[newest]
            if not wrong:
                break
        return wrong

    async def _compare(
        self, client: S3Client, key: str, compare: Callable[[Mapping[str, bytes]], str]
    ) -> str:
        found = await client.get(key, most=LIMITS.download_bytes)
        name = key.rpartition("/")[2]
        written = None
        with suppress(ValueError, TypeError):  # a server may give no date, or a wrong one
            written = parsedate_to_datetime(found.modified)
        if written is None or written.tzinfo is None:
            written = parse_backup_time(key)
        if written is not None and written < self.since - _SKEW:
            return f"the newest backup is from before this run: {name}"
        files = await asyncio.to_thread(unpack_archive, found.body or b"", where=f"the backup {name}")
        wrong = compare({path: files.read(path) for path in files.names()})
        return f"the newest backup {name} {wrong}" if wrong else ""


def _is_due(expected: ExpectedBackup, done: frozenset[str], *, is_partial: bool) -> bool:
    """Whether the run changed the node that writes the backup, as far as its name is known here."""
    if expected.hostname in expected.nodes:
        return expected.hostname in done
    # The node calls itself otherwise than the fleet file does: it is surely changed if all are.
    if not expected.hostname:
        return bool(done & expected.nodes)
    return expected.nodes <= done and not is_partial
