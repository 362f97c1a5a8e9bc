"""The revision that a plan file was made from, as a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reconciler.cli.run_options import RunOptions
from reconciler.core.plan import Revision
from reconciler.core.revision import COMMIT, strip_uncommitted
from reconciler.errors import SourceError, SourceUnreachable, UntrustedRevision, WorldChanged
from reconciler.planning.plan_file import OUTDATED, PlanFile
from reconciler.ports.source import Snapshot, Source, SourceOrigin


@dataclass(frozen=True, slots=True)
class PlannedSource(Source):
    """A source at the revision of a plan file. If it no longer has the revision, the world has changed."""

    options: RunOptions
    file: PlanFile

    async def snapshot(self) -> Snapshot:
        """The files of that revision.

        Raises:
            WorldChanged: the source or the branch that this host follows no longer has the revision.
            SourceUnreachable: it does not answer.
            UntrustedRevision: it lacks a required signature.
        """
        planned = self.file.load_plan().revision
        try:
            source = self._pinned(planned)
            snapshot = await source.snapshot()
        except (SourceUnreachable, UntrustedRevision):
            raise
        except SourceError as error:
            raise WorldChanged(f"{error.message} [{OUTDATED}]", remedy=error.remedy) from error
        await self._require_on_branch(planned, source)
        return snapshot

    async def read_origin(self, revision: str, names: Sequence[str], folders: Sequence[str]) -> SourceOrigin:
        """Where the files of a revision come from; see `ports.source.Source`."""
        found = await self._pinned(self.file.load_plan().revision).read_origin(revision, names, folders)
        return replace(found, ref=self.options.ref)

    def _pinned(self, planned: Revision) -> Source:
        options = self.options
        # A commit is read as it was committed, that of a folder too. Uncommitted changes and a tarball are
        # read as they are now: the caller compares the revision that they give.
        ref = planned.id if COMMIT.fullmatch(planned.id) else options.ref
        return replace(options, ref=ref).locate(trust=options.trust)

    async def _require_on_branch(self, planned: Revision, source: Source) -> None:
        # Who may push any branch could otherwise get an unreviewed commit applied: push it, plan it elsewhere
        # and hand in the plan file. A commit that was force-pushed away is refused for the same reason.
        options = self.options
        if not (source.has_history and COMMIT.fullmatch(planned.id)):
            return
        try:
            branch = options.locate()
            tip = (await branch.snapshot()).revision.id
        except SourceUnreachable:
            raise
        except SourceError as error:
            raise WorldChanged(f"{error.message} [{OUTDATED}]", remedy=error.remedy) from error
        if strip_uncommitted(tip) == planned.id:
            return
        before, name = await branch.ancestors(strip_uncommitted(tip)), options.ref or "the default branch"
        if before is None:
            raise WorldChanged(
                f"cannot find out whether {name} of {options.source} contains revision {planned.short}, from "
                f"which the plan was made: the history is incomplete [{OUTDATED}]",
                remedy="fetch the full history, or make a new plan",
            )
        if planned.id not in before:
            raise WorldChanged(
                f"{name} of {options.source} does not contain revision {planned.short}, from which the plan "
                f"was made: it is on another branch, or the branch was rewritten [{OUTDATED}]",
                remedy="merge the revision and make a new plan; if this host follows another branch, give it "
                "with --ref",
            )
