"""The revision that a plan file was made from, as a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reconciler.cli.run_options import RunOptions
from reconciler.core.plan import Revision
from reconciler.core.revision import COMMIT, get_base_commit
from reconciler.errors import SourceError, SourceUnreachable, UntrustedRevision, WorldChanged
from reconciler.planning.plan_file import OUTDATED, PlanFile
from reconciler.ports.source import Snapshot, Source, SourceOrigin
from reconciler.sources.locate import locate_pinned_source, locate_source


@dataclass(frozen=True, slots=True)
class PlannedSource(Source):
    """A source at the revision of a plan file; that it gives it no more means that the world has changed."""

    order: RunOptions
    file: PlanFile

    async def snapshot(self) -> Snapshot:
        """The files of that revision.

        Raises:
            WorldChanged: the source does not give the revision any more.
            SourceUnreachable: it does not answer.
            Untrusted: it is not signed by anybody whose signature counts here.
        """
        planned = self.file.loaded().revision
        try:
            source = self._pinned(planned)
            snapshot = await source.snapshot()
        except (SourceUnreachable, UntrustedRevision):
            raise
        except SourceError as error:
            raise WorldChanged(f"{error.message} [{OUTDATED}]", remedy=error.remedy) from error
        await self._not_withdrawn(planned, source)
        return snapshot

    async def origin(self, revision: str, names: Sequence[str], folders: Sequence[str]) -> SourceOrigin:
        """Where the files of a revision come from; see `ports.source.Source`."""
        found = await self._pinned(self.file.loaded().revision).origin(revision, names, folders)
        return replace(found, ref=self.order.ref)

    def _pinned(self, planned: Revision) -> Source:
        order = self.order
        return locate_pinned_source(
            order.source,
            planned.id,
            ref=order.ref,
            path=order.path,
            cache=order.copies,
            trust=order.trust,
            environment=order.host.environment,
        )

    async def _not_withdrawn(self, planned: Revision, source: Source) -> None:
        """Nothing, where this host's branch has the commit: a file may name any that somebody pushed.

        Raises:
            WorldChanged: the branch does not have it, or is gone, or its history is not known.
            SourceUnreachable: the source does not answer.
        """
        order = self.order
        if not (source.has_history and COMMIT.fullmatch(planned.id)):
            return
        try:
            branch = locate_source(
                order.source,
                ref=order.ref,
                path=order.path,
                cache=order.copies,
                environment=order.host.environment,
            )
            tip = (await branch.snapshot()).revision.id
        except SourceUnreachable:
            raise
        except SourceError as error:
            raise WorldChanged(f"{error.message} [{OUTDATED}]", remedy=error.remedy) from error
        if get_base_commit(tip) == planned.id:
            return
        before, name = await branch.ancestors(get_base_commit(tip)), order.ref or "the default branch"
        if before is None:
            raise WorldChanged(
                f"cannot find out whether {name} of {order.source} contains revision {planned.short}, from "
                f"which the plan was made: the history is incomplete [{OUTDATED}]",
                remedy="fetch the full history, or make a new plan",
            )
        if planned.id not in before:
            raise WorldChanged(
                f"{name} of {order.source} does not contain revision {planned.short}, from which the plan "
                f"was made: it is on another branch, or the branch was rewritten [{OUTDATED}]",
                remedy="merge the revision and make a new plan; if this host follows another branch, give it "
                "with --ref",
            )
