"""Takes a watch's fleet back to an earlier revision, for people who may not open the state themselves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler, override_suspensions
from reconciler.core.actor import Actor
from reconciler.core.revision import COMMIT, get_base_commit
from reconciler.desired.fleet import Fleet
from reconciler.errors import GuardRefusal, StateError, UsageError, WorldChanged
from reconciler.host.aio import run_unless_stopped
from reconciler.planning.plan_file import PlanOrigin, make_plan_file
from reconciler.planning.plan_pass import PlanResult
from reconciler.ports.source import Source
from reconciler.ports.store import Store
from reconciler.server.watch_options import WatchOptions
from reconciler.sources.locate import locate_source
from reconciler.text.one_line import make_one_line
from reconciler.text.urls import strip_secrets

Answer: TypeAlias = tuple[dict[str, Any], bytes]
"""What is answered, and the bytes of a plan that follow it."""

_MOST_VIOLATIONS: Final = 20
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """What a person asks for.

    Args:
        revision: as a git source knows it.
        only: a cluster or a node to keep to; empty for all that the watch looks after.
        while_suspended: whether suspensions are set aside for this run.
        plan: digest of the plan that was shown and agreed to; empty to be shown one.
    """

    revision: str
    only: str
    while_suspended: bool
    plan: str


@dataclass(frozen=True, slots=True)
class RollbackRunner:
    """Plans and applies rollbacks from the watch's source, one at a time.

    The locks of the clusters keep the watch's passes away, as for any other run.

    Args:
        options: of the watch.
        store: its journal.
        stop: once set, nothing more is begun.
    """

    options: WatchOptions
    store: Store
    stop: asyncio.Event
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, request: RollbackRequest, actor: Actor) -> Answer:
        """Show the plan, or apply exactly the one that was shown.

        Raises:
            ReconcilerError: it cannot be planned or applied, or the plan has changed.
        """
        if not request.revision:
            raise UsageError("a rollback through a watch needs its revision", remedy="name the commit")
        if self._lock.locked():
            raise UsageError("another rollback is under way in this watch", remedy="wait until it has ended")
        async with self._lock, self._reconciler(request.revision, actor).connected() as reconciler:
            fleet = await reconciler.reader.read_fleet()
            await self._refuse_foreign(fleet, reconciler)
            if request.while_suspended:
                fleet = override_suspensions(fleet, "rollback --while-suspended")
            only = request.only or self.options.only
            plan_result = await run_unless_stopped(self.stop, reconciler.reader.plan(fleet, only=only))
            if plan_result is None:
                raise StateError("the watch is stopping; nothing was done", remedy="start it and try again")
            if not request.plan:
                return self._answer_with_plan(plan_result, reconciler)
            if plan_result.plan.digest != request.plan:
                raise WorldChanged(
                    "the plan is not the one that was shown: the nodes have changed since; nothing was done",
                    remedy="run the command again and look at the plan",
                )
            try:
                report = await reconciler.apply(plan_result, trigger="rollback", stop=self.stop)
            except GuardRefusal as error:
                return {
                    "status": error.exit_status,
                    "refused": _format_violations(plan_result),
                    "run": "",
                }, b""
            return {"status": report.exit_status, "refused": [], "run": report.run}, b""

    def _reconciler(self, revision: str, actor: Actor) -> Reconciler:
        source = self._source(revision, is_rollback=True)
        return Reconciler(Reader(source, host=self.options.host, is_named=True), self.store, actor=actor)

    def _source(self, ref: str, *, is_rollback: bool) -> Source:
        options = self.options
        return locate_source(
            options.source,
            ref=ref,
            path=options.path,
            cache=options.state / "sources",
            trust=options.trust,
            environment=options.host.environment,
            state=options.state,
            is_rollback=is_rollback,
        )

    async def _refuse_foreign(self, fleet: Fleet, reconciler: Reconciler) -> None:
        """Refuse a revision that neither the watched branch contains nor this host applied.

        Raises:
            UsageError: it is neither.
        """
        # An attacker who may push any branch knows the id of a commit that nobody has merged. The right to
        # roll back must not become a right to deploy that commit.
        _, store = await reconciler.reader.bind(fleet)
        revision = fleet.revision.id
        if store is not None and revision in {id_ for id_, _ in (await store.recall()).acted}:
            return
        watched = self._source(self.options.ref, is_rollback=False)
        tip = get_base_commit((await watched.snapshot()).revision.id)
        before = await watched.ancestors(tip) if watched.has_history and COMMIT.fullmatch(tip) else None
        if get_base_commit(revision) not in (before or ()):
            name = fleet.revision.short or revision
            raise UsageError(
                f"revision {name} is none that the watched branch comes from, nor one that was applied here",
                remedy="name a commit of `reconcile history` or of the branch; another one needs root",
            )

    def _answer_with_plan(self, plan_result: PlanResult, reconciler: Reconciler) -> Answer:
        origin = PlanOrigin(source=strip_secrets(self.options.source), path=self.options.path)
        data = make_plan_file(
            plan_result, origin, {}, datetime.now(UTC), reconciler.reader.products
        ).written()
        is_refused = plan_result.refused or plan_result.released().plan.empty
        answer = {
            "refused": _format_violations(plan_result),
            "plan": plan_result.plan.digest,
            "empty": plan_result.plan.empty,
        }
        return {
            **answer,
            "status": GuardRefusal.exit_status if plan_result.violations and is_refused else 0,
        }, data


def _format_violations(plan_result: PlanResult) -> list[str]:
    """The verdicts against a plan, in lines, as many as an answer has room for."""
    return [
        make_one_line(f"{one.message} [{one.code}]" + (f"; {one.remedy}" if one.remedy else ""), _LONGEST)
        for one in plan_result.violations[:_MOST_VIOLATIONS]
    ]
