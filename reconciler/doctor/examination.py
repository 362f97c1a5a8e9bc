"""Runs all checks of `reconcile doctor`: each by itself, so that one that fails or hangs stops no other."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeAlias

from reconciler.api.reader import Reader
from reconciler.core.defect import name_error
from reconciler.core.host_entries import EntryKind, find_named_entries
from reconciler.core.observation import Absent, Present, Stale, Unauthorized, Unidentified
from reconciler.descriptions.values import format_count
from reconciler.doctor import data_rules, machine_probe, machine_rules, network_probe, network_rules
from reconciler.doctor.facts import ClockSample, ConfigurationFacts, NodeFact, measure_clock
from reconciler.doctor.findings import (
    DoctorFinding,
    DoctorReport,
    Topic,
    list_error_findings,
    report_error,
    report_ok,
    report_unchecked,
)
from reconciler.doctor.recording_http import HttpNotes
from reconciler.errors import ReconcilerError
from reconciler.host.clock import utc_now
from reconciler.host.credentials import list_known_credentials
from reconciler.host.host import Host
from reconciler.planning.inventory_report import find_unread_clusters
from reconciler.ports.source import Source
from reconciler.ports.store_condition import StoreCondition
from reconciler.sources.signatures.trust import Trust
from reconciler.store.factory import StoreDatabase, StorePlace, inspect_store
from reconciler.text.node_names import generalise_sentence, generalise_urls

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet
    from reconciler.planning.plan_pass import PlanResult

Findings: TypeAlias = Iterable[DoctorFinding]
Announce: TypeAlias = Callable[[str], None]

_SOURCE_SHARE: Final = 0.6
"""Share of the time that the source may take: without it there are no nodes to look at."""

_STORE_SHARE: Final = 0.5
_NO_FLEET: Final = "the fleet could not be read from the source"


@dataclass(frozen=True, slots=True)
class DoctorRequest:
    """What is examined.

    Args:
        host: this machine.
        state: the folder with the files of this host.
        store: where the records are; None if that could not be found out.
        source_url: of the source, if it is reached over HTTP; else empty.
        source_host: name of its server; empty for a folder or file.
        is_repository: whether git is needed to read it.
        make_source: makes the source, which keeps its copies in the given folder.
        read_trust: the signers that are required; None for none.
        seconds: for all checks together.
        earlier: findings about what had to be found out before, such as an invalid host configuration.
        is_configured: whether the host configuration could be read.
    """

    host: Host
    state: Path
    store: StorePlace | None
    source_url: str
    source_host: str
    is_repository: bool
    make_source: Callable[[Path], Source]
    read_trust: Callable[[], Trust | None]
    seconds: float
    earlier: tuple[DoctorFinding, ...] = ()
    is_configured: bool = True


async def examine_host(request: DoctorRequest, announce: Announce) -> DoctorReport:
    """Run all checks; gives what they found, whatever is broken.

    Args:
        request: what is examined.
        announce: called with what is looked at next.
    """
    known = list_known_credentials(request.host.environment, request.host.config.secrets.variables)
    examination = _Examination(request, announce, end=monotonic() + request.seconds)
    return DoctorReport.of([*request.earlier, *await examination.run()], known)


@dataclass(slots=True)
class _Examination:
    request: DoctorRequest
    announce: Announce
    end: float
    notes: HttpNotes = field(default_factory=HttpNotes)
    fleet: Fleet | None = None
    plan_result: PlanResult | None = None
    clocks: list[ClockSample] = field(default_factory=list)

    async def run(self) -> list[DoctorFinding]:
        self.announce("this machine, the store and the source")
        found = await self._run_together(
            (Topic.VERSIONS, self._check_versions, 1.0),
            (Topic.PERMISSIONS, self._check_permissions, 1.0),
            (Topic.DISK, self._check_disk, 1.0),
            (Topic.SERVICE, self._check_service, 1.0),
            (Topic.STORE, self._check_store, _STORE_SHARE),
            (Topic.SOURCE, self._check_signers, 1.0),
            (Topic.SOURCE, self._check_source, _SOURCE_SHARE),
            (Topic.CLOCK, self._ask_server, _SOURCE_SHARE),
        )
        self.announce("names and nodes")
        found += await self._run_together(
            (Topic.CONFIGURATION, self._check_configuration, 1.0),
            (Topic.LIMITS, self._check_limits, 1.0),
            (Topic.PROXY, self._check_proxies, 1.0),
            (Topic.NAMES, self._check_names, 1.0),
            (Topic.NODES, self._check_nodes, 1.0),
        )
        self.announce("certificates and clocks")
        return found + await self._run_together(
            (Topic.CERTIFICATES, self._check_certificates, 1.0), (Topic.CLOCK, self._check_clocks, 1.0)
        )

    async def _run_together(
        self, *checks: tuple[Topic, Callable[[], Awaitable[Findings]], float]
    ) -> list[DoctorFinding]:
        return [
            one for some in await asyncio.gather(*(self._run(*check) for check in checks)) for one in some
        ]

    async def _run(
        self, topic: Topic, check: Callable[[], Awaitable[Findings]], share: float
    ) -> list[DoctorFinding]:
        """The findings of one check, whatever happens in it."""
        # What is only judged must not fail because others took all the time: it gets a moment in any case.
        seconds = max(1.0, (self.end - monotonic()) * share)
        try:
            async with asyncio.timeout(seconds):
                return list(await check())
        except TimeoutError:
            what = f"the check did not end within {seconds:.0f} s"
            return [report_error(topic, what, "look at what it waits for, or give more time with --timeout")]
        except ReconcilerError as error:
            return list(list_error_findings(topic, error))
        except OSError as error:
            return [
                report_error(topic, f"the check failed: {error.strerror or type(error).__name__}", "", "")
            ]
        except Exception as error:  # noqa: BLE001  (a defect in one check must not hide what others found)
            what = f"the check failed by a defect of this program: {name_error(error)}"
            return [report_error(topic, what, "report it, with this line")]

    async def _check_versions(self) -> Findings:
        needs_git = self.request.is_repository
        read = partial(machine_probe.read_versions, self.request.host, needs_git=needs_git)
        return machine_rules.judge_versions(await asyncio.to_thread(read))

    async def _check_permissions(self) -> Findings:
        request = self.request
        has_store = not isinstance(request.store, StoreDatabase)
        read = partial(machine_probe.read_paths, request.host, request.state, has_store=has_store)
        mask = machine_probe.read_mask()
        found = machine_rules.judge_paths(await asyncio.to_thread(read))
        return [*found, *(machine_rules.judge_mask(mask) if mask is not None else ())]

    async def _check_disk(self) -> Findings:
        return machine_rules.judge_disk(await asyncio.to_thread(machine_probe.read_disk, self.request.state))

    async def _check_service(self) -> Findings:
        return machine_rules.judge_service(machine_probe.read_service(self.request.host, self.request.state))

    async def _check_store(self) -> Findings:
        if self.request.store is None:
            return [report_unchecked(Topic.STORE, "it is not known where the records are")]
        seconds = max(1.0, (self.end - monotonic()) * _STORE_SHARE * _STORE_SHARE)
        condition = await asyncio.to_thread(inspect_store, self.request.store, seconds)
        self._note_clock(condition)
        return data_rules.judge_store(condition)

    def _note_clock(self, condition: StoreCondition) -> None:
        if (clock := condition.clock) is not None:
            self.clocks.append(measure_clock("the database server", clock.before, clock.after, clock.now))

    async def _check_signers(self) -> Findings:
        trust = self.request.read_trust()
        if trust is None:
            return [report_ok(Topic.SOURCE, "no signature is required of revisions")]
        read = partial(machine_probe.read_signers, self.request.host, trust)
        return data_rules.judge_signers(await asyncio.to_thread(read))

    async def _check_source(self) -> Findings:
        # Copies of the source are made in a folder that is removed: the one of the state stays as it is.
        with tempfile.TemporaryDirectory(prefix="reconcile-doctor-", ignore_cleanup_errors=True) as folder:
            reader = self._make_reader(Path(folder))
            self.fleet = fleet = await reader.read_fleet()
            found = self._describe_fleet(fleet)
            # Here, where the source is at hand: a plan may read its history.
            self.announce(f"{format_count(_count_nodes(fleet), 'node')}")
            self.plan_result = await reader.plan(fleet)
            self.fleet = self.plan_result.fleet
        return found

    def _make_reader(self, folder: Path) -> Reader:
        return Reader(self.request.make_source(folder), host=self.request.host, connect=self.notes.connect)

    def _describe_fleet(self, fleet: Fleet) -> list[DoctorFinding]:
        clusters = format_count(len(fleet.cluster_inputs), "cluster")
        nodes = format_count(_count_nodes(fleet), "node")
        what = f"revision {fleet.revision.short} can be read: {clusters}, {nodes}"
        return [report_ok(Topic.SOURCE, what)]

    async def _ask_server(self) -> Findings:
        if self.request.source_url:
            self.clocks += await network_probe.read_server_clock(self.request.host, self.request.source_url)
        return ()

    async def _check_configuration(self) -> Findings:
        host = self.request.host
        if not self.request.is_configured:
            return ()
        unused = _find_unused_entries(host, self.fleet) if self.fleet else None
        return machine_rules.judge_configuration(ConfigurationFacts(str(host.file or ""), unused))

    async def _check_limits(self) -> Findings:
        nodes = _count_nodes(self.fleet) if self.fleet else None
        return machine_rules.judge_limits(machine_probe.read_limits(nodes))

    async def _check_proxies(self) -> Findings:
        request = self.request
        return network_rules.judge_proxy(
            network_probe.read_proxies(request.host, request.source_url, self.fleet)
        )

    async def _check_names(self) -> Findings:
        near, far = network_probe.list_host_names(self.request.host, self.request.source_host, self.fleet)
        return network_rules.judge_names(
            await network_probe.resolve_names(near, far, is_fleet_known=self.plan_result is not None)
        )

    async def _check_nodes(self) -> Findings:
        if self.plan_result is None:
            return [report_unchecked(Topic.NODES, _NO_FLEET)]
        unread = find_unread_clusters(self.plan_result.fleet)
        found = [report_error(Topic.NODES, one.message, one.remedy, name) for name, one in unread.items()]
        return [*found, *network_rules.judge_node_readings(list(_list_node_facts(self.plan_result)))]

    async def _check_certificates(self) -> Findings:
        own = list(
            await asyncio.to_thread(lambda: list(network_probe.read_own_certificates(self.request.host)))
        )
        nodes = await network_probe.read_node_certificates(self.notes.places)
        return network_rules.judge_certificates([*own, *nodes], utc_now())

    async def _check_clocks(self) -> Findings:
        return network_rules.judge_clock([*self.clocks, *self.notes.clocks.values()])


def _count_nodes(fleet: Fleet) -> int:
    return sum(len(one.entry.members()) for one in fleet.cluster_inputs)


def _list_node_facts(plan_result: PlanResult) -> Iterator[NodeFact]:
    for context in plan_result.guard_contexts:
        cluster = context.plan.cluster
        for node in context.entry.members():
            name, observation = node.name, context.observed.nodes.get(node.name)
            if name in context.polling:
                yield NodeFact(cluster, name, polls=True)
            elif isinstance(observation, Present | Absent):
                yield NodeFact(cluster, name)
            elif observation is None:
                yield NodeFact(cluster, name, "not read", "the reading of its cluster ended before")
            else:
                yield NodeFact(
                    cluster,
                    name,
                    _FAILURES.get(type(observation), "unreachable"),
                    generalise_urls(generalise_sentence(observation.reason, name)),
                    getattr(observation, "remedy", ""),
                )


_FAILURES: Final = {Unauthorized: "not authorized", Unidentified: "not identified", Stale: "out of date"}


def _find_unused_entries(host: Host, fleet: Fleet) -> dict[str, tuple[str, ...]]:
    """Section of the host configuration -> its entries that neither the fleet nor another entry names."""
    config = host.config
    named = {(one.kind, one.name) for part in fleet.cluster_inputs for one in find_named_entries(part.entry)}
    ways = {one.ssh for one in config.commands.values()} | {one.ssh for one in config.files.values()}
    ways |= {one.jump for one in config.ssh.values()}
    reloads = {one.reload for one in config.files.values()}
    sections = {
        EntryKind.AUTHORITIES: (config.authorities, set()),
        EntryKind.COMMANDS: (config.commands, reloads),
        EntryKind.FILES: (config.files, set()),
        EntryKind.SSH: (config.ssh, ways),
    }
    found = {}
    for kind, (entries, others) in sections.items():
        unused = tuple(sorted(name for name in entries if (kind, name) not in named and name not in others))
        if unused:
            found[str(kind)] = unused
    return found
