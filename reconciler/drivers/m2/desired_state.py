"""From a cluster's entry and its settings files to what each node is to have; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from reconciler.core.canonical import fingerprint as plain_fingerprint
from reconciler.core.endpoint import Endpoint, InvalidAddress, check_single_machine, parse_endpoint
from reconciler.core.fields import drop_zero_fraction
from reconciler.core.plan import Payload
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2 import unresolved_secrets
from reconciler.drivers.m2.canonical import fingerprint_clear
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.findings import WORD
from reconciler.drivers.m2.package import SETTING, compute_digests, compute_payload_digest
from reconciler.drivers.m2.redacted_fingerprints import compute_redacted_digest
from reconciler.drivers.m2.schema import Content, Deliver, M2Cluster, M2Desired, M2Node, NodeTarget
from reconciler.drivers.m2.setting.check import check_setting
from reconciler.drivers.m2.setting.diagnostics import get_object, get_value
from reconciler.errors import InputError
from reconciler.ports.cluster_input import ClusterInput

BASE_FACT = "base"
"""The fact that remembers where a node answered last: a URL."""

API_PORT = 10040
"""The port of the management API where the setting does not say."""


def make_desired(cluster_input: ClusterInput) -> M2Desired:
    """What each node of the cluster is to have.

    Raises:
        InputError: with every problem of the cluster's files and addresses.
    """
    entry = cluster_input.entry
    assert isinstance(entry, M2Cluster)
    documents = {id(document): document for document in cluster_input.documents.values()}
    problems = list(examine(cluster_input))
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors:
        raise InputError(problems)
    files = compute_digests(cluster_input.resources) | dict.fromkeys(
        cluster_input.missing, unresolved_secrets.UNKNOWN
    )
    shown = {path: cluster_input.encrypted.get(path, file) for path, file in files.items()}
    # Nodes that get the same share one document, and so its meaning, its fingerprints and its payload.
    contents = ContentCache()
    made: dict[int, tuple[Content, str]] = {}
    payloads: dict[str, Payload] = {}
    owners = {id(cluster_input.documents[node.name]): node.name for node in reversed(entry.nodes)}
    exact: dict[str, str] = {}
    for key, document in documents.items():
        content = contents.of(stamp_document(document.value, cluster_input))
        name, full = (
            compute_redacted_digest(content.document, shown, owners[key]),
            compute_payload_digest(content.document, files),
        )
        if exact.setdefault(name, full) != full:  # what names a payload on its way must name that one alone
            name = plain_fingerprint([name, owners[key]])
        made[key] = content, name
        lacking = unresolved_secrets.find_missing_secrets(content.document, cluster_input.missing)
        payloads[made[key][1]] = Payload(content.document, cluster_input.resources, lacking)
    targets = tuple(_target(node, *made[id(cluster_input.documents[node.name])]) for node in entry.nodes)
    notes = (
        *(replace(problem, target=entry.name) for problem in problems),
        *unresolved_secrets.report_missing_secrets(entry.name, iter(payloads.values())),
    )
    return M2Desired(
        entry=entry,
        revision=cluster_input.revision,
        targets=targets,
        resources=files if entry.deliver is Deliver.UPLOAD else {},
        payloads=payloads,
        files=fingerprint_clear(shown) if files else "",
        shown_resources=shown if entry.deliver is Deliver.UPLOAD else {},
        notes=notes,
    )


def examine(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """Everything wrong or doubtful in a cluster's settings, addresses and resources."""
    entry = cluster_input.entry
    assert isinstance(entry, M2Cluster)
    documents = {id(document): document for document in cluster_input.documents.values()}
    for document in documents.values():
        yield from check_setting(document)
    yield from _unaddressed(cluster_input, entry)
    yield from _unpacked(cluster_input, entry)
    yield from unresolved_secrets.report_undeliverable_references(cluster_input, iter(documents.values()))


def _unaddressed(cluster_input: ClusterInput, entry: M2Cluster) -> Iterator[Diagnostic]:
    """Nodes without a settings file, addresses that are none, and two nodes at one address."""
    first: dict[Any, str] = {}  # host and port -> node
    for index, node in enumerate(entry.nodes):
        path = f"{cluster_input.pointer}/nodes/{index}"
        if node.name not in cluster_input.documents and not entry.setting_of(node):
            said = f"{node.name} has no settings file"
            remedy = "write `setting: FILE` for the cluster or the node"
            yield _problem(cluster_input, path, "no-setting", said, remedy)
        try:
            place = parse_endpoint(node.address)
            check_single_machine(place)
        except InvalidAddress as error:
            # A user name, which no address may have, comes with a password most often.
            shown = re.sub(r"^.*@", "…@", node.address)
            said = f'"{shown}" {error.message}'
            yield _problem(cluster_input, f"{path}/address", "bad-address", said, error.remedy)
            continue
        if node.name not in cluster_input.documents:
            continue  # without its settings the port is not known
        place = place.at(_port(cluster_input.documents[node.name].value))
        other = first.setdefault(place.place, node.name)
        if other != node.name:
            said = f"{node.name} and {other} have one address, {place}"
            yield _problem(cluster_input, f"{path}/address", "duplicate-node", said, "give each its own")


def find_endpoints(cluster_input: ClusterInput) -> dict[str, Endpoint]:
    """Node -> where it is reached; without nodes whose address, or whose settings' port, is not known."""
    entry = cluster_input.entry
    assert isinstance(entry, M2Cluster)
    ports = {id(document): _port(document.value) for document in cluster_input.documents.values()}
    found: dict[str, Endpoint] = {}
    for node in entry.nodes:
        with suppress(InvalidAddress):
            place = parse_endpoint(node.address)
            if node.name in cluster_input.documents:
                found[node.name] = place.at(ports[id(cluster_input.documents[node.name])])
    return found


def _unpacked(cluster_input: ClusterInput, entry: M2Cluster) -> Iterator[Diagnostic]:
    """Resources that cannot travel with the setting, or do not."""
    path = f"{cluster_input.pointer}/resources"
    if SETTING in cluster_input.resources:
        said = f"{SETTING} is in every package already, and a resource cannot have that name"
        yield _problem(cluster_input, path, "bad-resource", said, "leave it out of `resources`")
    if cluster_input.resources and entry.deliver is not Deliver.UPLOAD:
        said = f"resources are delivered by upload only, and this cluster says `deliver: {entry.deliver}`"
        yield Diagnostic(
            Severity.WARNING,
            "unused-resources",
            said,
            "remove them here",
            position=cluster_input.fleet.position(path),
            pointer=path,
        )


def _port(document: Any) -> int:
    """The port of the API that a setting says."""
    port = drop_zero_fraction(get_value(document, ("env", "management", "api", "port")))
    return port if isinstance(port, int) and not isinstance(port, bool) else API_PORT


def _problem(cluster_input: ClusterInput, path: str, code: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR, code, message, remedy, position=cluster_input.fleet.position(path), pointer=path
    )


def _target(node: M2Node, content: Content, payload: str) -> NodeTarget:
    base = parse_endpoint(node.address).base(_port(content.canonical))
    return NodeTarget(node.name, (base,), content, payload, trusted=node.first_delivery)


def recall_addresses(desired: M2Desired, facts: Mapping[str, Mapping[str, str]]) -> M2Desired:
    """The same, with the addresses at which nodes answered last, and without words that are used up."""
    if not facts:
        return desired
    addresses = {node.name: node.address for node in desired.entry.nodes}
    targets = tuple(
        _recalled(target, facts[target.node], parse_endpoint(addresses[target.node]))
        if target.node in facts
        else target
        for target in desired.targets
    )
    return replace(desired, targets=targets)


def _recalled(target: NodeTarget, facts: Mapping[str, str], place: Endpoint) -> NodeTarget:
    bases = list(target.bases)
    # only a port may be remembered: another host is another machine, whatever the store says of the node
    if place.port is None and _same_host(facts.get(BASE_FACT, ""), place):
        bases.append(facts[BASE_FACT])
    trusted = target.trusted and facts.get(WORD) != bases[0]
    return replace(target, bases=tuple(dict.fromkeys(bases)), recalled=facts, trusted=trusted)


def _same_host(base: str, place: Endpoint) -> bool:
    """Whether a remembered URL is one of the very host, and by the very scheme, that the fleet file names."""
    try:
        known = parse_endpoint(base)
    except InvalidAddress:
        return False
    return known.port is not None and replace(known, port=None) == replace(place, port=None)


def stamp_document(document: Any, cluster_input: ClusterInput) -> Any:
    """The document as an upload delivers it: with the commit's short id where the fleet file asks for it.

    What a node takes from its disk or its own git repository is what lies there, without it.
    """
    entry = cluster_input.entry
    assert isinstance(entry, M2Cluster)
    if not entry.is_stamped or not isinstance(document, Mapping):
        return document
    return {**document, "meta": {**get_object(document, "meta"), "version": cluster_input.revision.short}}
