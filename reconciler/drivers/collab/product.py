"""The driver of the Collaboration Server with its Redis and nginx."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from reconciler.core.endpoint import Endpoint, InvalidAddress, parse_api, parse_endpoint
from reconciler.core.entries import ClusterEntry
from reconciler.core.guard import Guard
from reconciler.core.json_schema import Schema
from reconciler.core.observation import Observed
from reconciler.core.observation_digests import digest_observations
from reconciler.core.plan import Payload, Step
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.reservations import StopQuestion
from reconciler.core.unmanaged import UnmanagedRules
from reconciler.diagnostic import Severity
from reconciler.drivers.collab import (
    actions,
    adopt,
    attempts,
    balancer_client,
    config,
    file_statuses,
    judge,
    lints,
    observation,
    planner,
    redis_client,
    redis_keys,
    status_client,
    stop_decision,
    undo_steps,
)
from reconciler.drivers.collab.arguments import ACTIONS
from reconciler.drivers.collab.cluster_view import ClusterView
from reconciler.drivers.collab.delivery import find_login_password, list_unchanged_files
from reconciler.drivers.collab.facts import INTERRUPTED, LEAVING, STARTED
from reconciler.drivers.collab.former import find_former_servers
from reconciler.drivers.collab.guards import GUARDS
from reconciler.drivers.collab.modelcheck.setups import make_setups
from reconciler.drivers.collab.released_keys import derive_key_facts
from reconciler.drivers.collab.schema import CollabCluster, CollabDesired
from reconciler.drivers.collab.views import CollabView
from reconciler.errors import InputError
from reconciler.file_delivery.steps import FILE_ACTIONS, is_file_step, perform_file_step
from reconciler.host.config import HostConfig
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Capabilities, Driver, Facts, ImportOption, StepAnswer
from reconciler.ports.simulator import Simulator
from reconciler.ports.transport import TransportKind, Transports
from reconciler.secrets.redaction import SHAPES


class CollabDriver(Driver[CollabDesired, CollabView]):
    """The Collaboration Server, as `ports.driver.Driver` describes a product.

    Args:
        pause: waits some seconds.
        unchecked: files of the host configuration that have no check.
    """

    kind = "collab"
    title = "Collaboration Server"
    capabilities = Capabilities(
        imports=True,
        model_check=True,
        simulation=True,
        history=True,
        transports=frozenset({TransportKind.HTTP}),
    )
    entry: type[ClusterEntry] = CollabCluster
    unmanaged_rules = UnmanagedRules(
        refusal="only the keys that the fleet names are changed in the files, and every other one stays"
    )
    guards: tuple[Guard, ...] = GUARDS
    import_option = ImportOption(
        "NAME=HOST:PORT,…",
        "A new cluster of Collaboration Servers, with all of them; may be given more than once.",
    )
    reads = (*status_client.READS, *balancer_client.READS, *redis_client.READS)
    actions = MappingProxyType({**ACTIONS, **FILE_ACTIONS})
    lint_codes = lints.CODES

    plan = staticmethod(planner.plan)
    judge = staticmethod(judge.judge)
    contents = staticmethod(attempts.fingerprint_contents)
    fingerprint_purpose = staticmethod(attempts.fingerprint_aim)
    fingerprint_differences = staticmethod(attempts.fingerprint_readings)
    find_remedy = staticmethod(attempts.suggest_remedy)
    build_live_state = staticmethod(adopt.read_live_state)
    list_model_setups = staticmethod(make_setups)
    list_file_statuses = staticmethod(file_statuses.list_file_statuses)
    lint = staticmethod(lints.lint)
    decide_stop = staticmethod(stop_decision.decide_stop)
    remark = staticmethod(stop_decision.report_clients_left)
    undo = staticmethod(undo_steps.undo)
    undo_part = staticmethod(undo_steps.undo_part)

    def __init__(
        self,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        unchecked: frozenset[str] = frozenset(),
    ) -> None:
        self._pause = pause
        self._unchecked = unchecked

    def with_host_config(self, config: HostConfig) -> CollabDriver:
        unchecked = frozenset(name for name, file in config.files.items() if not file.check)
        return type(self)(pause=self._pause, unchecked=unchecked)

    def desire(self, cluster_input: ClusterInput) -> CollabDesired:
        assert isinstance(cluster_input.entry, CollabCluster)
        entry = cluster_input.entry
        problems = [
            *config.find_config_problems(cluster_input),
            *redis_keys.find_redis_problems(cluster_input),
        ]
        if any(one.severity is Severity.ERROR for one in problems):
            raise InputError(problems)
        documents = cluster_input.documents
        redis = entry.redis
        return CollabDesired(
            entry,
            configs={
                server.name: documents[server.name].value
                for server in entry.nodes
                if entry.config is not None and server.name in documents
            },
            redis_keys=documents[redis.name].value
            if redis is not None and redis.source and redis.name in documents
            else None,
        )

    def list_transports(self, desired: CollabDesired) -> frozenset[TransportKind]:
        """What the parts of the entry need; a cluster that is only observed needs no files or commands."""
        entry, needed = desired.entry, set(self.capabilities.transports)
        places = (desired.get_redis_place(), desired.get_balancer_place())
        if entry.config is not None or any(places):
            needed.add(TransportKind.FILE)
        if entry.redis is not None:
            needed.add(TransportKind.STREAM)
        commands = (
            entry.restart,
            entry.start,
            entry.stop,
            entry.redis.restart if entry.redis is not None else None,
            entry.balancer.reload if entry.balancer is not None else None,
        )
        if any(command is not None for command in commands):
            needed.add(TransportKind.COMMAND)
        return frozenset(needed)

    def add_history(self, desired: CollabDesired, facts: Facts, prior: PriorRevisions) -> CollabDesired:
        former = find_former_servers(desired.entry, prior)
        return replace(desired, recalled=facts, former=former, unchecked=self._unchecked)

    async def observe(self, desired: CollabDesired, transports: Transports) -> Observed[CollabView]:
        return await observation.observe_cluster(desired, transports)

    async def observe_step(self, step: Step, transports: Transports) -> Observed[CollabView]:
        return await observation.observe_step(step, transports)

    async def act(self, step: Step, transports: Transports, payloads: Mapping[str, Payload]) -> StepAnswer:
        if is_file_step(step):
            return await perform_file_step(step, transports, payloads)
        return await actions.perform(step, transports, self._pause)

    def derive_facts(
        self, desired: CollabDesired, observed: Observed[CollabView]
    ) -> Mapping[str, Mapping[str, str]]:
        """The last start of each server, the keys of files, and which servers that have left are stopped."""
        view = ClusterView(desired, observed)
        found: dict[str, dict[str, str]] = {}
        for server in desired.entry.nodes:
            status = view.get_status(server.name)
            if status is None:
                continue
            own = {STARTED: status.start}
            if status.is_healthy and desired.recall(server.name, INTERRUPTED):
                own[INTERRUPTED] = ""
            if any(desired.recall(server.name, key) != value for key, value in own.items()):
                found[server.name] = own
        balancer = desired.entry.balancer
        leaving = desired.recall(balancer.name, LEAVING) if balancer is not None else ""
        if balancer is not None and leaving and all(map(view.is_silent, leaving.split(","))):
            found[balancer.name] = {LEAVING: ""}
        unchanged = list_unchanged_files(desired, observed)
        for node, facts in derive_key_facts(desired, observed, unchanged).items():
            found[node] = found.get(node, {}) | facts
        return found

    def fingerprint_observations(
        self, desired: CollabDesired, observed: Observed[CollabView]
    ) -> Mapping[str, str]:
        # A config.json quotes passwords under names and in URLs.
        secrets = [password] if (password := find_login_password(desired)) is not None else []
        known = sorted((str(one.value) for one in secrets if not one.missing), key=len, reverse=True)

        def redact(text: str) -> str:
            for one in known:
                text = text.replace(one, "")
            return SHAPES.redact_text(text)

        return digest_observations(observed, redact_text=redact)

    def list_uncounted_nodes(self, desired: CollabDesired, observed: Observed[CollabView]) -> frozenset[str]:
        """Former servers that do not run."""
        view = ClusterView(desired, observed)
        return frozenset(one.name for one in desired.former if view.is_silent(one.name))

    def find_reservation_conflict(self, step: Step, question: StopQuestion) -> str:  # noqa: ARG002
        """None: planner and judge count reserved servers as away."""
        return ""

    def endpoints(self, cluster_input: ClusterInput) -> Mapping[str, Endpoint]:
        assert isinstance(cluster_input.entry, CollabCluster)
        found: dict[str, Endpoint] = {}
        for node in cluster_input.entry.members():
            text = node.endpoint()
            try:
                found[node.name] = parse_api(text) if "://" in text else parse_endpoint(text)
            except InvalidAddress:
                continue
        return found

    def explanations(self) -> Traversable:
        return Path(__file__).with_name("explanations")

    def schemas(self) -> Mapping[str, Callable[[], Schema]]:
        return {"collab-config": config.make_config_schema}

    def simulator(self) -> Simulator:
        from reconciler.drivers.collab.simulator.simulator import SIMULATOR  # noqa: PLC0415  (few runs)

        return SIMULATOR

    async def read_cluster_entry(
        self, name: str, addresses: Sequence[str], transports: Transports
    ) -> dict[str, Any]:
        return await adopt.make_entry(name, addresses, transports)


DRIVER: Final = CollabDriver()
"""The driver for the registry."""
