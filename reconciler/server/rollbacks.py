"""Rollbacks through a running watch, for operators who have no access to the state folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler, override_suspensions
from reconciler.core.actor import Actor
from reconciler.core.finding_groups import group_findings
from reconciler.core.revision import COMMIT, strip_uncommitted
from reconciler.core.roles import AccessRole
from reconciler.core.selection import Selection, load_selection, select_nodes
from reconciler.desired.fleet import Fleet
from reconciler.drivers.registry import DRIVERS, select_drivers
from reconciler.errors import GuardRefusal, StateError, UsageError, WorldChanged
from reconciler.host.aio import run_unless_stopped
from reconciler.planning.inventory_source import add_inventory
from reconciler.planning.plan_file import PlanOrigin, make_plan_file
from reconciler.planning.plan_pass import PlanResult
from reconciler.ports.source import Source
from reconciler.ports.store import Store
from reconciler.server.access.hidden_names import HiddenNames
from reconciler.server.access.identity import Identity
from reconciler.server.access.visibility import restrict_selection
from reconciler.server.watch_options import WatchOptions
from reconciler.sources import CACHE_FOLDER
from reconciler.sources.locate import locate_source
from reconciler.text.one_line import make_one_line
from reconciler.text.urls import strip_secrets

Answer: TypeAlias = tuple[dict[str, Any], bytes]
"""The answer as plain data, and the bytes of the plan file that follow it."""

_MOST_VIOLATIONS: Final = 20
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """A rollback that an operator requests.

    Args:
        revision: a commit, tag or branch of the source.
        only: a selection, as `format_selection` writes it; empty for all that the watch handles.
        plan: digest of the plan that the operator confirmed; empty to request the plan.
    """

    revision: str
    only: str
    plan: str


@dataclass(frozen=True, slots=True)
class RollbackRunner:
    """Plans and applies rollbacks from the watch's source, one at a time.

    The locks of the clusters keep the watch's passes away, as for any other run.

    Args:
        options: of the watch.
        store: of the watch.
        stop: once set, nothing more is started.
    """

    options: WatchOptions
    store: Store
    stop: asyncio.Event
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(
        self, request: RollbackRequest, actor: Actor, identity: Identity, require: Callable[[str], None]
    ) -> Answer:
        """Give the plan to the operator, or apply exactly the plan that the operator confirmed.

        Args:
            request: what is asked for.
            actor: who asks.
            identity: the same, with the clusters that they may look at.
            require: called with the name of each cluster before its nodes are read, or with an empty one
                for one that they may not look at; raises if they may not roll it back.

        Raises:
            AccessRefused: they may not; nothing was read from a node.
            ReconcilerError: it cannot be planned or applied, or the plan has changed.
        """
        if not request.revision:
            raise UsageError("a rollback through a watch needs a revision", remedy="name the commit")
        # Refuse instead of waiting: the caller would confirm a plan that is outdated by then.
        if self._lock.locked():
            raise UsageError("another rollback is running in this watch", remedy="wait until it has finished")
        source = self._source(request.revision, is_rollback=True)
        reader = Reader(source, host=self.options.host, is_named=True)
        async with self._lock, Reconciler(reader, self.store, actor=actor).connected() as reconciler:
            with HiddenNames.find(identity, ()).masking():
                fleet = await reconciler.reader.read_fleet()
                await self._refuse_foreign(fleet, reconciler)
            fleet = override_suspensions(fleet)
            entries = [one.entry for one in fleet.cluster_inputs]
            if request.only:
                only = restrict_selection(load_selection(request.only), entries, identity)
            else:
                only = self.options.only
            for cluster in select_nodes(only, entries):
                require(cluster if identity.allows(AccessRole.LOOK, cluster) else "")
            # Not around the selection: a mask there would tell a hidden name from one that does not exist.
            hidden = HiddenNames.find(identity, entries)
            with hidden.masking():
                return await self._roll_back(request, fleet, only, reconciler, hidden)

    async def _roll_back(
        self,
        request: RollbackRequest,
        fleet: Fleet,
        only: Selection,
        reconciler: Reconciler,
        hidden: HiddenNames,
    ) -> Answer:
        plan_result = await run_unless_stopped(self.stop, reconciler.reader.plan(fleet, only=only))
        if plan_result is None:
            raise StateError(
                "the watch is stopping; nothing was done", remedy="start it again and repeat the command"
            )
        if not request.plan:
            return self._answer_with_plan(plan_result, reconciler, hidden)
        # The operator confirmed exactly one plan; another one needs another confirmation.
        if plan_result.plan.digest != request.plan:
            raise WorldChanged(
                "the nodes have changed since the plan was shown; nothing was done",
                remedy="run the command again and check the new plan",
            )
        try:
            report = await reconciler.apply(plan_result, trigger="rollback", stop=self.stop)
        except GuardRefusal as error:
            answer = {
                "status": error.exit_status,
                "refused": _format_violations(plan_result, hidden),
                "run": "",
            }
            return answer, b""
        return {"status": report.exit_status, "refused": [], "run": report.run}, b""

    def _source(self, ref: str, *, is_rollback: bool) -> Source:
        options = self.options
        source = locate_source(
            options.source,
            ref=ref,
            path=options.path,
            cache=options.state / CACHE_FOLDER,
            trust=options.trust,
            environment=options.host.environment,
            accounts=options.host.config.aws,
            state=options.state,
            is_rollback=is_rollback,
        )
        drivers = select_drivers(options.host.config, DRIVERS)
        return add_inventory(source, options.host, drivers, state=options.state, is_applying=True)

    async def _refuse_foreign(self, fleet: Fleet, reconciler: Reconciler) -> None:
        """Refuse a revision that neither the watched branch contains nor this host applied.

        Raises:
            UsageError: it is neither.
        """
        # An attacker who may push any branch knows the id of a commit that nobody has merged. The right to
        # roll back must not become a right to deploy that commit.
        _, store = await reconciler.reader.bind(fleet)
        revision = fleet.revision.id
        if store is not None and revision in {
            id_ for id_, _ in (await store.read_memory()).applied_revisions
        }:
            return
        watched = self._source(self.options.ref, is_rollback=False)
        tip = strip_uncommitted((await watched.snapshot()).revision.id)
        before = await watched.ancestors(tip) if watched.has_history and COMMIT.fullmatch(tip) else None
        if strip_uncommitted(revision) not in (before or ()):
            name = fleet.revision.short or revision
            raise UsageError(
                f"revision {name} is not in the history of the watched branch; this host never applied it",
                remedy="name a commit of the branch or of `reconcile history`; only root may use another one",
            )

    def _answer_with_plan(
        self, plan_result: PlanResult, reconciler: Reconciler, hidden: HiddenNames
    ) -> Answer:
        origin = PlanOrigin(source=strip_secrets(self.options.source), path=self.options.path)
        plan, products = plan_result.plan, reconciler.reader.products
        data = make_plan_file(plan_result, origin, {}, datetime.now(UTC), products).encode()
        # A violation that holds back one cluster alone leaves the rest of the plan to apply.
        is_refused = plan_result.is_refused or plan_result.select_released().plan.is_empty
        status = GuardRefusal.exit_status if plan_result.violations and is_refused else 0
        refused = _format_violations(plan_result, hidden)
        return {"refused": refused, "plan": plan.digest, "empty": plan.is_empty, "status": status}, data


def _format_violations(plan_result: PlanResult, hidden: HiddenNames) -> list[str]:
    """The first violations of a plan, one line each."""
    return [
        make_one_line(
            "; ".join(filter(None, (f"{one.text} [{one.finding.code}]", one.finding.remedy))), _LONGEST
        )
        for one in group_findings(hidden.mask_diagnostics(plan_result.violations))[:_MOST_VIOLATIONS]
    ]
