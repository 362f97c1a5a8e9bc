"""The desired state of a cluster, from its entry in the fleet file and its settings files; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from reconciler.core.bus_channels import BusKind
from reconciler.core.canonical import fingerprint as plain_fingerprint
from reconciler.core.endpoint import (
    Endpoint,
    InvalidAddress,
    check_single_machine,
    is_loopback_host,
    parse_endpoint,
)
from reconciler.core.entries import Polling, Reporting
from reconciler.core.fields import drop_zero_fraction
from reconciler.core.firestore_paths import find_path_problem
from reconciler.core.plan import Payload
from reconciler.core.pointer_pattern import Pattern
from reconciler.core.unmanaged import REFUSED, list_patterns
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import make_diagnostic
from reconciler.drivers.m2 import unresolved_secrets
from reconciler.drivers.m2.canonical import fingerprint_clear
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.feed_rendering import find_feeds_elsewhere, render_feeds
from reconciler.drivers.m2.feed_topology import NODE_ID, list_named_channels
from reconciler.drivers.m2.findings import FIRST_DELIVERY
from reconciler.drivers.m2.package import SETTING, compute_digests, compute_payload_digest
from reconciler.drivers.m2.redacted_fingerprints import compute_redacted_digest
from reconciler.drivers.m2.schema import Content, Deliver, M2Cluster, M2Desired, NodeTarget
from reconciler.drivers.m2.setting.check import check_setting
from reconciler.drivers.m2.setting.diagnostics import get_object, get_value
from reconciler.errors import InputError
from reconciler.ports.cluster_input import ClusterInput
from reconciler.text.one_line import LONGEST_NAME, make_one_line

BASE_FACT = "base"
"""The fact with the URL at which a node answered last."""

API_PORT = 10040
"""The default of `api.port` (M2 manual, API)."""


def make_desired(cluster_input: ClusterInput) -> M2Desired:
    """The desired state of the cluster.

    Raises:
        InputError: with every problem of the cluster's files and addresses.
    """
    entry = cluster_input.entry
    assert isinstance(entry, M2Cluster)
    problems = list(examine(cluster_input))
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors:
        raise InputError(problems)
    files = compute_digests(cluster_input.resources) | dict.fromkeys(
        cluster_input.missing, unresolved_secrets.UNKNOWN
    )
    shown = {path: cluster_input.encrypted.get(path, file) for path, file in files.items()}
    # Nodes with the same document share its meaning, its fingerprints and its payload.
    contents: dict[tuple[Pattern, ...], ContentCache] = {}
    made: dict[tuple[int, tuple[Pattern, ...]], tuple[Content, str]] = {}
    fields = {node.name: list_patterns(cluster_input.unmanaged.get(node.name, ())) for node in entry.nodes}
    # Nodes that share a document may still keep different fields of their own.
    payloads: dict[str, Payload] = {}
    keys = {node.name: (id(cluster_input.documents[node.name]), fields[node.name]) for node in entry.nodes}
    documents = {keys[node.name]: cluster_input.documents[node.name] for node in entry.nodes}
    owners = {keys[node.name]: node.name for node in reversed(entry.nodes)}
    exact_digests: dict[str, str] = {}
    for key, document in documents.items():
        cache = contents.setdefault(key[1], ContentCache(unmanaged=key[1]))
        content = cache.of(stamp_document(document.value, cluster_input))
        digest = compute_redacted_digest(content.document, shown, owners[key])
        exact = compute_payload_digest(content.document, files)
        # Two payloads that differ only in secrets have one redacted digest, by which steps refer to them.
        # So the second one gets another digest: else a node could receive the other node's secret.
        if exact_digests.setdefault(digest, exact) != exact:
            digest = plain_fingerprint([digest, owners[key]])
        made[key] = content, digest
        missing = unresolved_secrets.find_missing_secrets(content.document, cluster_input.missing)
        payloads[digest] = Payload(content.document, cluster_input.resources, missing)
    targets = []
    for node in entry.nodes:
        content, digest = made[keys[node.name]]
        if entry.reporting is not None:
            # Each node gets a token, so that each has a payload of its own, also where tokens are unknown:
            # a plan has the same digests on every host.
            payload, digest = payloads[digest], plain_fingerprint([digest, node.name])
            payloads[digest] = payload
        # Without an address the node is not called: it polls.
        base = parse_endpoint(node.address).base(_get_port(content.canonical)) if node.address else ""
        bases = (base,) if base else ()
        targets.append(
            NodeTarget(
                node.name,
                bases,
                content,
                digest,
                trusted=node.first_delivery,
                unmanaged=fields[node.name],
            )
        )
    notes = (
        *(replace(problem, target=entry.name) for problem in problems),
        *unresolved_secrets.report_missing_payloads(entry.name, iter(payloads.values())),
    )
    return M2Desired(
        entry=entry,
        revision=cluster_input.revision,
        targets=tuple(targets),
        resources=files if entry.delivers_content else {},
        payloads=payloads,
        files=fingerprint_clear(shown) if files else "",
        shown_resources=shown if entry.delivers_content else {},
        notes=notes,
    )


def examine(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """All errors and warnings about a cluster's settings, addresses and resources."""
    entry = cluster_input.entry
    assert isinstance(entry, M2Cluster)
    documents = {id(document): document for document in cluster_input.documents.values()}
    for document in documents.values():
        if entry.reporting is None or not isinstance(document.value, Mapping):
            yield from check_setting(document)
            continue
        yield from find_feeds_elsewhere(document, entry.reporting)
        yield from check_setting(document, render_feeds(document.value, entry.reporting))
    if entry.reporting is not None:
        yield from _check_server(cluster_input, entry.reporting)
        yield from _check_paths(cluster_input, entry)
    yield from _check_addresses(cluster_input, entry)
    yield from _check_resources(cluster_input, entry)
    yield from _check_unmanaged(cluster_input, entry)
    yield from unresolved_secrets.report_undeliverable_references(cluster_input, iter(documents.values()))


def _check_paths(cluster_input: ClusterInput, entry: M2Cluster) -> Iterator[Diagnostic]:
    """Paths in Firestore that cannot be written or read: of an unknown node, or of a wrong form."""
    reported: set[tuple[int, str]] = set()
    for one in list_named_channels(cluster_input):
        place = id(one.document), one.pointer
        if one.channel.kind is not BusKind.FIRESTORE or place in reported:
            continue
        problem = find_path_problem(one.channel.name)
        if problem:
            reported.add(place)
            message = f"the path {make_one_line(one.channel.name, LONGEST_NAME)} of {one.node} {problem}"
            remedy = "write a path such as `m2nodes/NODE/events`"
            yield make_diagnostic(one.document, one.pointer, "bad-path", message, remedy)
        elif NODE_ID in one.channel.name:
            reported.add(place)
            message = f"the id of {one.node} in M2Live is not known, for which {NODE_ID} stands"
            remedy = f"add `node_id` to {one.node} in {cluster_input.fleet.name}: its messages do not have it"
            yield make_diagnostic(one.document, one.pointer, "unknown-node-id", message, remedy)
    yield from _check_repeated_ids(cluster_input, entry)


def _check_repeated_ids(cluster_input: ClusterInput, entry: M2Cluster) -> Iterator[Diagnostic]:
    """Two nodes with one id, which would be told and heard as one."""
    seen: dict[str, str] = {}
    for index, node in enumerate(entry.nodes):
        if node.node_id and (other := seen.setdefault(node.node_id, node.name)) != node.name:
            pointer = f"{cluster_input.get_node_pointer(index)}/node_id"
            message = f"{node.name} has the `node_id` of {other}: {node.node_id}"
            remedy = "give each node its own id in M2Live"
            yield make_diagnostic(cluster_input.fleet, pointer, "one-id-twice", message, remedy)


def _check_server(cluster_input: ClusterInput, reporting: Reporting) -> Iterator[Diagnostic]:
    """Tokens that anybody on the way can read."""
    host = urlsplit(reporting.server).hostname or ""
    if not reporting.server.startswith("https://") and not is_loopback_host(host):
        key, verb, what = (
            ("poll", "poll", "tokens and settings")
            if isinstance(reporting, Polling)
            else ("reports", "report", "tokens")
        )
        yield make_diagnostic(
            cluster_input.fleet,
            f"{cluster_input.pointer}/{key}/server",
            "unencrypted-polling",
            f"the nodes {verb} without TLS: everybody on the way can read their {what}",
            "write https:// and give the host configuration a certificate, or put a proxy with TLS in front",
            severity=Severity.WARNING,
        )


def _check_addresses(cluster_input: ClusterInput, entry: M2Cluster) -> Iterator[Diagnostic]:
    """Nodes without a settings file, invalid addresses, and two nodes at one address."""
    fleet = cluster_input.fleet
    first: dict[Any, str] = {}  # host and port -> node
    for index, node in enumerate(entry.nodes):
        path = cluster_input.get_node_pointer(index)
        if node.name not in cluster_input.documents and not entry.get_setting_path(node):
            message = f"{node.name} has no settings file"
            remedy = "write `setting: FILE` for the cluster or the node"
            yield make_diagnostic(fleet, path, "no-setting", message, remedy)
        if not node.address and entry.deliver is not Deliver.POLL:
            message = f"{node.name} has no address, and this program has to call it"
            remedy = "write its `address`, or `deliver: poll` for nodes that poll"
            yield make_diagnostic(fleet, path, "missing-key", message, remedy)
        if not node.address:
            continue
        try:
            place = parse_endpoint(node.address)
            check_single_machine(place)
        except InvalidAddress as error:
            # An address with a user name is invalid, and may have a password too.
            shown = re.sub(r"^.*@", "…@", node.address)
            message = f'"{shown}" {error.message}'
            yield make_diagnostic(fleet, f"{path}/address", "bad-address", message, error.remedy)
            continue
        if node.name not in cluster_input.documents:
            continue  # without its settings the port is unknown
        place = place.at(_get_port(cluster_input.documents[node.name].value))
        other = first.setdefault(place.place, node.name)
        if other != node.name:
            message = f"{node.name} and {other} have the same address, {place}"
            remedy = "give each node its own address"
            yield make_diagnostic(fleet, f"{path}/address", "duplicate-node", message, remedy)


def find_endpoints(cluster_input: ClusterInput) -> dict[str, Endpoint]:
    """Node -> its endpoint; without nodes whose address is invalid or whose setting is missing."""
    entry = cluster_input.entry
    assert isinstance(entry, M2Cluster)
    ports = {id(document): _get_port(document.value) for document in cluster_input.documents.values()}
    found: dict[str, Endpoint] = {}
    for node in entry.nodes:
        with suppress(InvalidAddress):
            place = parse_endpoint(node.address)
            if node.name in cluster_input.documents:
                found[node.name] = place.at(ports[id(cluster_input.documents[node.name])])
    return found


def _check_resources(cluster_input: ClusterInput, entry: M2Cluster) -> Iterator[Diagnostic]:
    fleet, path = cluster_input.fleet, f"{cluster_input.pointer}/resources"
    if SETTING in cluster_input.resources:
        message = f"a resource cannot have the name {SETTING}: every package has that file already"
        yield make_diagnostic(fleet, path, "bad-resource", message, "remove it from `resources`")
    if cluster_input.resources and not entry.delivers_content:
        message = (
            "resources are delivered with settings only, but the nodes of this cluster have their settings "
            f"already: it has `deliver: {entry.deliver}`"
        )
        yield make_diagnostic(
            fleet, path, "unused-resources", message, "remove them here", severity=Severity.WARNING
        )


def _check_unmanaged(cluster_input: ClusterInput, entry: M2Cluster) -> Iterator[Diagnostic]:
    """A node that takes its setting from elsewhere gets it whole: nothing of its own can be kept in it."""
    if entry.delivers_content:
        return
    way = "poll.checkout" if entry.polling is not None else f"deliver: {entry.deliver}"
    for field in {each.pointer: each for own in cluster_input.unmanaged.values() for each in own}.values():
        message = f"with `{way}` each node takes a whole file from elsewhere, and no field can be its own"
        yield make_diagnostic(
            cluster_input.fleet, field.pointer, REFUSED, message, "remove it, or deliver the setting"
        )


def _get_port(document: Any) -> int:
    port = drop_zero_fraction(get_value(document, ("env", "management", "api", "port")))
    return port if isinstance(port, int) and not isinstance(port, bool) else API_PORT


def recall_addresses(desired: M2Desired, facts: Mapping[str, Mapping[str, str]]) -> M2Desired:
    """The same, with the URLs at which nodes answered last, and without used confirmations."""
    if not facts:
        return desired
    addresses = {node.name: node.address for node in desired.entry.nodes}
    targets = []
    for target in desired.targets:
        recalled = facts.get(target.node)
        if recalled is None:
            targets.append(target)
            continue
        bases = list(target.bases)
        if not bases:
            targets.append(replace(target, recalled=recalled))
            continue
        place = parse_endpoint(addresses[target.node])
        # Only a port is taken from the store: another host is another machine, whatever the store has.
        if place.port is None and _has_same_host(recalled.get(BASE_FACT, ""), place):
            bases.append(recalled[BASE_FACT])
        trusted = target.trusted and recalled.get(FIRST_DELIVERY) != bases[0]
        bases = list(dict.fromkeys(bases))
        targets.append(replace(target, bases=tuple(bases), recalled=recalled, trusted=trusted))
    return replace(desired, targets=tuple(targets))


def _has_same_host(base: str, place: Endpoint) -> bool:
    """Whether a stored URL has the scheme and host of the fleet file, and a port."""
    try:
        known = parse_endpoint(base)
    except InvalidAddress:
        return False
    return known.port is not None and replace(known, port=None) == replace(place, port=None)


def stamp_document(document: Any, cluster_input: ClusterInput) -> Any:
    """The document as it is delivered: with the commit's short id where the fleet file asks for it.

    With the URLs of the central server, for nodes that poll or report. Documents that a node takes from its
    disk or its own git repository have no stamp.
    """
    entry = cluster_input.entry
    assert isinstance(entry, M2Cluster)
    if entry.reporting is not None and isinstance(document, Mapping):
        document = render_feeds(document, entry.reporting)
    if not entry.is_stamped or not isinstance(document, Mapping):
        return document
    return {**document, "meta": {**get_object(document, "meta"), "version": cluster_input.revision.short}}
