"""The driver of M2: desired state, observation, plan, and the delivery of one step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from reconciler.core.arguments import TypedArguments
from reconciler.core.bus_channels import read_channel
from reconciler.core.canonical import fingerprint
from reconciler.core.cloud_expressions import CloudExpression
from reconciler.core.endpoint import Endpoint
from reconciler.core.entries import ClusterEntry
from reconciler.core.guard import Guard
from reconciler.core.json_schema import Schema
from reconciler.core.observation import (
    Absent,
    Liveness,
    NodeReport,
    Observation,
    Observed,
    Present,
    Unreachable,
)
from reconciler.core.offers import OfferFeed
from reconciler.core.plan import ClusterPlan, Payload, Step, refuse_missing_secrets
from reconciler.core.pointer_pattern import Pattern
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.reservations import StopDecision, StopQuestion
from reconciler.core.step_status import StepVerdict
from reconciler.core.unmanaged import read_patterns
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document
from reconciler.drivers.m2 import (
    adopt,
    attempts,
    backups,
    desired_state,
    feed_rendering,
    judge,
    lints,
    planner,
    reports,
    restarts,
    single_file,
    stop_decision,
    unmanaged,
)
from reconciler.drivers.m2.arguments import (
    ACTIONS,
    RESTART,
    CheckoutArguments,
    DeliveryArguments,
    OfferArguments,
    RestartArguments,
    UploadArguments,
    is_restart,
    read_delivery,
    read_restart,
)
from reconciler.drivers.m2.canonical import fingerprint_clear
from reconciler.drivers.m2.central_server.mail_secrets import MailRedactors
from reconciler.drivers.m2.central_server.offered_parts import write_checkout, write_package
from reconciler.drivers.m2.client import READS, Client
from reconciler.drivers.m2.cloud_origins import find_cloud_origins
from reconciler.drivers.m2.content import MAX_SECTION_BYTES, ContentCache
from reconciler.drivers.m2.desired_state import BASE_FACT
from reconciler.drivers.m2.feed_topology import list_named_channels
from reconciler.drivers.m2.findings import (
    FILES_FACT,
    SAME_VERSION,
    WAITS_FACT,
    may_need_restart,
    recall_waiting,
)
from reconciler.drivers.m2.guards import GUARDS
from reconciler.drivers.m2.mail_evidence import EvidenceReader, add_reported, fingerprint_label_content
from reconciler.drivers.m2.package import PackageCache, encode_setting, pack_tgz
from reconciler.drivers.m2.redacted_fingerprints import RedactedFingerprints, compute_redacted_fingerprints
from reconciler.drivers.m2.schema import (
    ExpectedSetting,
    LoadedSetting,
    M2Cluster,
    M2Desired,
    M2Policy,
    NodeTarget,
)
from reconciler.drivers.m2.shared_contents import SharedContents
from reconciler.drivers.m2.undo import rebuild_offer, undo_delivery, undo_offer, undo_partial_delivery
from reconciler.errors import NodeUnreachable
from reconciler.file_delivery.node_starts import read_starts
from reconciler.host.defect_capture import capture_defects
from reconciler.ports.backups import ExpectedBackup
from reconciler.ports.cluster_input import ClusterInput, NamedChannel
from reconciler.ports.driver import (
    Capabilities,
    Driver,
    Facts,
    ImportOption,
    InstallationFile,
    LiveState,
    MemberClaim,
    StepAnswer,
    Undo,
)
from reconciler.ports.operations import ProductOperation
from reconciler.ports.transport import (
    Mailbox,
    NodeMail,
    OfferDraft,
    OfferedContent,
    TransportKind,
    Transports,
)
from reconciler.secrets.redaction import RedactionMask

if TYPE_CHECKING:
    from reconciler.core.polled_model import PolledSetup
    from reconciler.core.product_model import ModelSetup
    from reconciler.drivers.m2.modelcheck.model import ModelWorld
    from reconciler.ports.central_server import CentralServer
    from reconciler.ports.node_store import NodeTokens
    from reconciler.ports.simulator import Simulator


MAX_PARALLEL_READS: Final = 128
"""Highest number of nodes that are read at the same time."""

MAX_KEPT_BYTES: Final = 8 * 1024 * 1024
"""Bytes of the different settings that are kept from one step to the next."""

MAX_SUGGESTED: Final = 5
"""Highest number of unmanaged fields that a remedy suggests."""

T = TypeVar("T")


class M2Driver(Driver[M2Desired, LoadedSetting]):
    """M2, as `ports.driver.Driver` describes a product.

    Assumed where M2's pages say nothing:

    - The method of `/setting/deploy/checkout` is GET, as for `/setting/deploy/local`; `checkoutMethod` in the
      fleet file changes it.
    - A node has a setting when it shows the same meaning, even if some of it waits for a restart.
    - The files of a setting are compared with the package from `/setting/download`. A node that does not give
      its package counts as having them when it shows the setting that came with them. Where only files
      change, no step is planned and a finding gives the reason.
    - `evidence` decides whether an address is a node's; without evidence nothing is sent there.
    - A node whose `api.port` changes may answer at the old or at the new port until its restart.
    """

    kind = "m2"
    title = "M2"
    capabilities = Capabilities(
        single_node=True,
        metrics=True,
        reports=True,
        imports=True,
        model_check=True,
        simulation=True,
        transports=frozenset({TransportKind.HTTP, TransportKind.COMMAND}),
    )
    entry: type[ClusterEntry] = M2Cluster
    policy = M2Policy
    guards: tuple[Guard, ...] = (*GUARDS, *stop_decision.GUARDS)
    import_option = ImportOption(help="A new M2 cluster and all its nodes; may be given more than once.")
    reads = READS
    actions: Mapping[str, type[TypedArguments]] = MappingProxyType({**ACTIONS, RESTART: RestartArguments})
    unmanaged_rules = unmanaged.RULES
    lone_file = "setting.json"
    commit_codes = frozenset({SAME_VERSION})
    lint_codes = lints.CODES

    def __init__(self) -> None:
        self._packages = PackageCache()
        self._shared: dict[tuple[Pattern, ...], tuple[SharedContents, MailRedactors]] = {}

    def _get_shared(self, unmanaged: Sequence[str]) -> tuple[SharedContents, MailRedactors]:
        """What nodes showed at earlier steps: a run settles thousands of steps with one setting.

        Args:
            unmanaged: the fields that do not count, as the arguments of the step have them.
        """
        patterns = read_patterns(unmanaged)
        if sum(shared.contents.size for shared, _ in self._shared.values()) > MAX_KEPT_BYTES:
            self._shared.clear()
        if patterns not in self._shared:
            shared = SharedContents(ContentCache(unmanaged=patterns))
            self._shared[patterns] = shared, MailRedactors(shared)
        return self._shared[patterns]

    def build_lone_entry(self, document: Document) -> dict[str, Any]:
        return single_file.make_single_file_fleet(document)

    def desire(self, cluster_input: ClusterInput) -> M2Desired:
        return desired_state.make_desired(cluster_input)

    def add_history(self, desired: M2Desired, facts: Facts, prior: PriorRevisions) -> M2Desired:
        """With the URLs of the last answers, the used confirmations, and the places of earlier secrets."""
        recalled = desired_state.recall_addresses(desired, facts)
        return replace(recalled, earlier=RedactionMask(prior.references)) if prior.references else recalled

    def examine(self, cluster_input: ClusterInput) -> Iterator[Diagnostic]:
        return desired_state.examine(cluster_input)

    async def observe(self, desired: M2Desired, transports: Transports) -> Observed[LoadedSetting]:
        fields = {target.unmanaged for target in desired.targets}
        caches = {one: SharedContents(ContentCache(MAX_SECTION_BYTES // len(fields), one)) for one in fields}
        has_resources = bool(desired.resources)
        polling, cluster = desired.entry.polling, desired.entry.name

        async def read(client: Client, target: NodeTarget) -> Observation[LoadedSetting]:
            shared = caches[target.unmanaged]
            expected = desired.expected(target.content)
            reading = partial(
                client.read,
                shared,
                expected=expected,
                resources=has_resources,
                trusted=target.trusted,
                # A secret that is unknown here differs from the node's, though it may have the setting. A
                # field that the node named as waiting may differ, too, though it was delivered.
                wanted=None
                if desired.payloads[target.payload].missing or recall_waiting(target)
                else target.content,
            )
            if polling is None:
                return await reading()
            mail = EvidenceReader(polling.fresh_seconds, shared, resources=has_resources)
            found = await _read_mail(mail, cluster, target.node, transports.mailbox)
            found = await _add_waiting(await _complete(found, client, reading), client, reading)
            return await _add_own_words(found, client, reading) if target.unmanaged else found

        observed = Observed(await _ask_nodes(desired, desired.targets, transports, read))
        restart = desired.entry.restart
        if restart is None:
            return observed
        values = restarts.list_start_readings(desired, observed)
        return replace(
            observed, starts=await read_starts(transports.commands, restart.started.command, values)
        )

    def plan(self, desired: M2Desired, observed: Observed[LoadedSetting]) -> ClusterPlan:
        return planner.plan(desired, observed)

    def lint(self, cluster_input: ClusterInput) -> Iterator[Diagnostic]:
        return lints.lint(cluster_input)

    def endpoints(self, cluster_input: ClusterInput) -> Mapping[str, Endpoint]:
        return desired_state.find_endpoints(cluster_input)

    def find_cloud_expressions(self, cluster_input: ClusterInput) -> Mapping[str, CloudExpression]:
        return find_cloud_origins(cluster_input)

    def claims(self, cluster_input: ClusterInput) -> Iterator[MemberClaim]:
        return lints.claims(cluster_input)

    async def read_cluster_entry(
        self,
        name: str,
        addresses: Sequence[str],
        transports: Transports,  # noqa: ARG002
    ) -> dict[str, Any]:
        return adopt.make_entry(name, addresses)

    def list_stamp_pointers(self, entry: ClusterEntry) -> frozenset[str]:
        """The pointer of `meta.version`, where that has a stamp."""
        assert isinstance(entry, M2Cluster)
        return frozenset() if entry.version is None else frozenset({"/meta/version"})

    def fingerprint_meaning(self, document: Any) -> str:
        return ContentCache().of(document).fingerprint

    def build_live_state(self, desired: M2Desired, observed: Observed[LoadedSetting]) -> LiveState:
        return adopt.read_live_settings(desired, observed)

    async def observe_step(self, step: Step, transports: Transports) -> Observed[LoadedSetting]:
        if is_restart(step):
            return await self._observe_restart(step, transports)
        own = read_delivery(step)
        client = _make_client(own, step.node, transports)
        # An undo has to know what waits for a restart: with nothing expected, the client reads everything.
        expected = ExpectedSetting("" if own.returning else own.after)
        (shared, redactors), resources = self._get_shared(own.unmanaged), bool(own.resources)
        reading = partial(
            client.read,
            shared,
            expected=expected,
            resources=resources,
            trusted=bool(own.uses),
            planned=frozenset({own.before, own.after}) - {""},
        )

        async def read() -> Observation[LoadedSetting]:
            if isinstance(own, UploadArguments) and own.reports:
                return await _add_reports(await reading(), step, own.label, transports.mailbox, redactors)
            if not isinstance(own, OfferArguments):
                return await reading()
            mail = EvidenceReader(own.fresh, shared, resources=resources, identity=True)
            found = await _read_mail(mail, step.cluster, step.node, transports.mailbox)
            return await _complete(found, client, reading)

        return Observed({step.node: await capture_defects(step.node, read())})

    def decide_stop(self, question: StopQuestion) -> StopDecision:
        return stop_decision.decide_stop(question)

    async def _observe_restart(self, step: Step, transports: Transports) -> Observed[LoadedSetting]:
        """What a node shows of its setting, and when it was started last."""
        own = read_restart(step)
        client = Client(transports.http, step.node, own.bases, own.timeout, own.connect)
        expected, shared = ExpectedSetting(own.after, own.unstamped), self._get_shared(own.unmanaged)[0]
        reading = partial(client.read, shared, expected=expected, resources=False)

        async def read() -> Observation[LoadedSetting]:
            if not own.fresh:
                return await reading()
            mail = EvidenceReader(own.fresh, shared, resources=False)
            found = await _read_mail(mail, step.cluster, step.node, transports.mailbox)
            return await _add_waiting(await _complete(found, client, reading), client, reading)

        # The start first: of a node that is started in between, the former start proves nothing.
        values = {step.node: own.started_values}
        starts = await read_starts(transports.commands, own.started_command, values)
        return Observed({step.node: await capture_defects(step.node, read())}, starts=starts)

    def judge(self, step: Step, seen: Observed[LoadedSetting]) -> StepVerdict:
        return judge.judge(step, seen)

    async def act(self, step: Step, transports: Transports, payloads: Mapping[str, Payload]) -> StepAnswer:
        if is_restart(step):
            restart = read_restart(step)
            return StepAnswer(await transports.commands.run(restart.command, restart.values, node=step.node))
        own = read_delivery(step)
        if isinstance(own, OfferArguments):
            return await self._offer(step, own, transports.mailbox, payloads[own.payload])
        client = _make_client(own, step.node, transports)
        match own:
            case UploadArguments():
                answer = await client.upload(payloads[own.payload], own.part, self._packages.tgz)
            case CheckoutArguments():
                answer = await client.checkout(own.method)
            case _:
                answer = await client.deploy_local()
        # Facts for later passes: a node may answer elsewhere after the change, and may not show its files.
        files = {FILES_FACT: fingerprint_clear(own.plain()["resources"])} if own.resources else {}
        waits = json.dumps(answer.waiting_for_restart) if answer.waiting_for_restart else ""
        return replace(answer, facts={BASE_FACT: client.bases[0], WAITS_FACT: waits, **files})

    async def _offer(self, step: Step, own: OfferArguments, mailbox: Mailbox, payload: Payload) -> StepAnswer:
        """Record an offer. Nothing of it is a fact about the node before it reports."""
        parts = write_checkout(own.after) if own.checkout else write_package(payload, self._packages)
        reader = EvidenceReader(own.fresh, self._get_shared(own.unmanaged)[0], resources=False)
        # For going back after this pass, when nobody has the observation of the plan any more.
        before = reader.find_parts(await mailbox.read_mail(step.cluster, step.node), own.before, payload)
        former = write_package(before, self._packages) if isinstance(before, Payload) else before
        draft = OfferDraft(
            cluster=step.cluster,
            node=step.node,
            feed=OfferFeed.SETTING,
            step=step.id,
            parts=parts,
            label=own.label,
            content=fingerprint_label_content(own.after, own.resources),
            # Nodes that poll at the same moment would all come at once; a message bus delivers when it likes.
            period=0.0 if own.channel else own.period,
            channel=read_channel(own.channel),
            # It closes before it is overdue, so that a node that takes it last has the time to show it.
            seconds=max(own.period, step.in_flight - own.fresh),
            former=former,
        )
        return StepAnswer(await mailbox.offer(draft), is_pending=True)

    def undo(
        self, step: Step, observed: Observed[LoadedSetting], payloads: Mapping[str, Payload]
    ) -> Undo | None:
        answer = observed.nodes.get(step.node)
        if is_restart(step):
            return None  # by what the node shows then, see `undo_part`
        return undo_delivery(step, answer.value, payloads) if isinstance(answer, Present) else None

    def undo_offer(self, step: Step, offered: OfferedContent) -> Undo | None:
        return undo_offer(step, offered)

    def rebuild_offer(self, desired: M2Desired, offered: OfferedContent) -> Step | None:
        return rebuild_offer(desired, offered)

    def undo_part(
        self,
        step: Step,
        observed: Observed[LoadedSetting],
        payloads: Mapping[str, Payload],
        shown: Observed[LoadedSetting],
    ) -> Undo | None:
        if is_restart(step):
            return restarts.undo_restart(step, observed, shown)
        answer, now = observed.nodes.get(step.node), shown.nodes.get(step.node)
        if not (isinstance(answer, Present) and isinstance(now, Present)):
            return None
        return undo_partial_delivery(step, answer.value, payloads, now.value)

    def fingerprint_observations(
        self, desired: M2Desired, observed: Observed[LoadedSetting]
    ) -> Mapping[str, str]:
        return compute_redacted_fingerprints(desired, observed)

    def digest_shown(self, answer: Present[LoadedSetting]) -> tuple[str, ...]:
        # Whether the setting that was delivered last and the package are read depends on what is desired.
        held = answer.value.held
        return (answer.value.content.fingerprint, *(() if held is None else (fingerprint(dict(held)),)))

    def complete_step(self, step: Step, desired: M2Desired) -> Step:
        """A step from a plan file with its exact fingerprints, where the desired state matches it."""
        if is_restart(step):
            return restarts.complete_restart(step, desired)
        own = read_delivery(step)
        target = next((one for one in desired.targets if one.node == step.node), None)
        # A plan file has redacted fingerprints only. The exact ones come from this host's files, where these
        # have the same content: another content was not approved.
        if own.shown or target is None or own.resources != desired.shown_resources:
            return step
        if RedactedFingerprints(desired.earlier).of(target.content) != own.after:
            return step
        return replace(step, arguments=own.completed(target.content.fingerprint, desired.resources))

    def contents(self, desired: M2Desired) -> Mapping[str, str]:
        return attempts.fingerprint_contents(desired)

    def contents_without_version(self, desired: M2Desired) -> Mapping[str, str]:
        return attempts.fingerprint_contents(desired, with_version=False)

    def fingerprint_purpose(self, step: Step, contents: Mapping[str, str]) -> str:
        return attempts.fingerprint_aim(step, contents)

    def fingerprint_differences(self, step: Step, observed: Observed[LoadedSetting]) -> Mapping[str, str]:
        return attempts.fingerprint_readings(step, observed)

    def explanations(self) -> Traversable:
        return Path(__file__).with_name("explanations")

    def schemas(self) -> Mapping[str, Callable[[], Schema]]:
        from reconciler.drivers.m2.central_server import messages  # noqa: PLC0415  (few runs need them)
        from reconciler.drivers.m2.setting.json_schema import make_setting_schema  # noqa: PLC0415

        make = {kind: partial(messages.make_message_schema, kind) for kind in messages.KINDS}
        return {"setting": make_setting_schema, **make}

    def simulator(self) -> Simulator:
        from reconciler.drivers.m2.simulator.simulator import SIMULATOR  # noqa: PLC0415  (few runs need it)

        return SIMULATOR

    def central_server(self) -> CentralServer:
        from reconciler.drivers.m2.central_server.server import CENTRAL_SERVER  # noqa: PLC0415  (few runs need it)

        return CENTRAL_SERVER

    def list_model_setups(
        self, desired: M2Desired, observed: Observed[LoadedSetting], plan: ClusterPlan
    ) -> tuple[ModelSetup[ModelWorld] | PolledSetup, ...] | str:
        from reconciler.drivers.m2.modelcheck import setups  # noqa: PLC0415  (a dry run does not need it)

        return setups.make_setups(desired, observed, plan)

    def has_stamps(self, entry: ClusterEntry) -> bool:
        assert isinstance(entry, M2Cluster)
        return entry.is_stamped

    def stamps(self, desired: M2Desired, observed: Observed[LoadedSetting]) -> Mapping[str, str]:
        wanted = {target.node for target in desired.targets}
        # Without the nodes that this run leaves out: their stamps say nothing about its revision.
        shown = {node: loaded.content.version for node, loaded in observed.present().items()}
        return {node: version for node, version in shown.items() if version and node in wanted}

    def list_delivered_facts(self, desired: M2Desired) -> Facts:
        return {target.node: {FILES_FACT: desired.files} for target in desired.targets if desired.files}

    def list_polling_nodes(self, desired: M2Desired) -> tuple[str, ...]:
        entry = desired.entry
        return tuple(node.name for node in entry.nodes) if entry.polling is not None else ()

    def list_reporting_nodes(self, desired: M2Desired) -> tuple[str, ...]:
        entry = desired.entry
        return tuple(node.name for node in entry.nodes) if entry.reporting is not None else ()

    def list_bus_channels(self, cluster_input: ClusterInput) -> Sequence[NamedChannel]:
        return list_named_channels(cluster_input) if cluster_input.entry.reporting is not None else ()

    def assign_tokens(self, desired: M2Desired, tokens: Mapping[str, NodeTokens]) -> M2Desired:
        return feed_rendering.assign_tokens(desired, tokens)

    def make_installation_file(self, desired: M2Desired, node: str) -> InstallationFile:
        target = next(one for one in desired.targets if one.node == node)
        payload = desired.payloads[target.payload]
        refuse_missing_secrets(payload)
        upload = "or upload it on the node itself to /setting/upload"
        if payload.resources:
            return InstallationFile(".tgz", pack_tgz(payload), f"unpack it into /usr/local/m2, {upload}")
        return InstallationFile(
            ".json", encode_setting(payload.document), f"install it as /usr/local/m2/setting.json, {upload}"
        )

    def keep_unmanaged(self, desired: M2Desired, observed: Observed[LoadedSetting]) -> M2Desired:
        return unmanaged.keep_values(desired, observed)

    def count_unmanaged(self, desired: M2Desired, observed: Observed[LoadedSetting]) -> Mapping[str, int]:
        return unmanaged.count_values(desired, observed)

    def list_expected_backups(self, desired: M2Desired) -> Sequence[ExpectedBackup]:
        return backups.list_expected_backups(desired)

    def find_backup_difference(
        self, desired: M2Desired, expected: ExpectedBackup, files: Mapping[str, bytes]
    ) -> str:
        return backups.find_backup_difference(desired, expected, files)

    def remark(
        self,
        desired: M2Desired,
        observed: Observed[LoadedSetting],
        plan: ClusterPlan,  # noqa: ARG002
    ) -> Iterator[Diagnostic]:
        return unmanaged.report_unmatched(desired, observed)

    def find_remedy(self, step: Step) -> str:
        if not (patterns := unmanaged.suggest_patterns(step.changes)):
            return ""
        names = ", ".join(patterns[:MAX_SUGGESTED])
        return (
            "if the node itself writes what it was not sent, leave that to it, in the cluster's entry: "
            f"`unmanaged: [{names}]`"
        )

    def exclude_nodes(self, desired: M2Desired, nodes: frozenset[str]) -> M2Desired:
        return replace(desired, targets=tuple(one for one in desired.targets if one.node not in nodes))

    async def health(
        self, desired: M2Desired, nodes: Sequence[str], transports: Transports
    ) -> Mapping[str, Mapping[str, float]]:
        asked = frozenset(nodes)
        targets = [target for target in desired.targets if target.node in asked]
        found = await _ask_nodes(desired, targets, transports, lambda client, _: client.metrics())
        return {node: answer for node, answer in found.items() if isinstance(answer, Mapping)}

    def operations(self) -> Mapping[str, ProductOperation[M2Desired]]:
        from reconciler.drivers.m2.purge import PurgeOperation  # noqa: PLC0415  (passes do not need it)

        return {PurgeOperation.kind: PurgeOperation()}

    def parse_report(self, node: str, message: Mapping[str, Any]) -> NodeReport | None:
        return reports.read_report(node, message)


async def _read_mail(
    reader: EvidenceReader, cluster: str, node: str, mailbox: Mailbox
) -> Observation[LoadedSetting]:
    """What the mail of a node proves; without a mailbox, as without a state, nothing was ever sent."""
    if not mailbox.is_available:
        return reader.read(NodeMail())
    try:
        return reader.read(await mailbox.read_mail(cluster, node))
    except NodeUnreachable as error:
        return Unreachable(error.reason, remedy=error.remedy)


async def _add_reports(
    found: Observation[LoadedSetting], step: Step, label: str, mailbox: Mailbox, redactors: MailRedactors
) -> Observation[LoadedSetting]:
    """What a node's API shows, with what the node reports of itself, where this host knows that."""
    if not isinstance(found, Present) or not mailbox.is_available:
        return found
    try:
        mail = await mailbox.read_mail(step.cluster, step.node)
    except NodeUnreachable:
        return found  # what it said of itself is only for messages
    return replace(found, value=add_reported(found.value, mail, step.id, label, redactors))


async def _complete(
    found: Observation[LoadedSetting],
    client: Client,
    read: Callable[[], Awaitable[Observation[LoadedSetting]]],
) -> Observation[LoadedSetting]:
    """What the mail proves, or else what the node's API shows, where the fleet file has its address."""
    if isinstance(found, Present) or not client.bases:
        return found
    answer = await read()
    never_called = isinstance(found, Unreachable) and found.liveness is Liveness.UNASKED
    return answer if never_called or isinstance(answer, Present | Absent) else found


async def _add_waiting(
    found: Observation[LoadedSetting],
    client: Client,
    read: Callable[[], Awaitable[Observation[LoadedSetting]]],
) -> Observation[LoadedSetting]:
    """What the mail proves, with what waits for a restart by the node's API, where its reports do not tell.

    A node says once what waits; if that report was lost, its mail will not show it.
    """
    if not isinstance(found, Present) or not client.bases or found.value.base:
        return found
    if found.value.waiting is not None or not may_need_restart(found.value.content):
        return found
    answer = await read()
    if not isinstance(answer, Present) or not answer.value.shows(
        ExpectedSetting(found.value.content.fingerprint)
    ):
        return found
    return replace(
        found, value=replace(found.value, waiting=answer.value.waiting, running=answer.value.running)
    )


async def _add_own_words(
    found: Observation[LoadedSetting],
    client: Client,
    read: Callable[[], Awaitable[Observation[LoadedSetting]]],
) -> Observation[LoadedSetting]:
    """What the mail proves, with the values that the node's API shows in its unmanaged fields.

    A report has them as they were when the node loaded its setting.
    """
    if not isinstance(found, Present) or not client.bases or found.value.base:
        return found
    answer = await read()
    if not isinstance(answer, Present):
        return found
    return replace(found, value=replace(found.value, own=answer.value.own))


def _make_client(own: DeliveryArguments, node: str, transports: Transports) -> Client:
    return Client(transports.http, node, own.bases, own.timeout, own.connect)


async def _ask_nodes(
    desired: M2Desired,
    targets: Sequence[NodeTarget],
    transports: Transports,
    ask: Callable[[Client, NodeTarget], Awaitable[T]],
) -> dict[str, T | Unreachable]:
    """Node -> its answer, or the defect of this program that one answer revealed."""
    gate, timeouts = asyncio.Semaphore(MAX_PARALLEL_READS), desired.entry.timeouts

    async def ask_node(target: NodeTarget) -> tuple[str, T | Unreachable]:
        async with gate:
            client = Client(transports.http, target.node, target.bases, timeouts.read, timeouts.connect)
            return target.node, await capture_defects(target.node, ask(client, target))

    return dict(await asyncio.gather(*(ask_node(target) for target in targets)))


DRIVER = M2Driver()
"""The driver that the registry loads."""
