"""From a cluster's entry and its settings files to what each node is to have; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from reconciler.core.canonical import fingerprint as plain_fingerprint
from reconciler.core.endpoint import BadAddress, Endpoint, check_single_machine, parse_endpoint
from reconciler.core.fields import whole
from reconciler.core.plan import Payload
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2 import unresolved_secrets
from reconciler.drivers.m2.canonical import fingerprint
from reconciler.drivers.m2.content import Contents
from reconciler.drivers.m2.findings import WORD
from reconciler.drivers.m2.package import SETTING, digest, digests
from reconciler.drivers.m2.schema import Content, Deliver, Desired, M2Cluster, M2Node, Target
from reconciler.drivers.m2.setting.check import problems_of
from reconciler.drivers.m2.setting.fault import at, mapping
from reconciler.drivers.m2.shown_prints import shown_digest
from reconciler.errors import InputError
from reconciler.ports.desk import Desk

BASE_FACT = "base"
"""The fact that remembers where a node answered last: a URL."""

API_PORT = 10040
"""The port of the management API where the setting does not say."""


def desire(desk: Desk) -> Desired:
    """What each node of the cluster is to have.

    Raises:
        InputError: with every problem of the cluster's files and addresses.
    """
    entry = desk.entry
    assert isinstance(entry, M2Cluster)
    documents = {id(document): document for document in desk.documents.values()}
    problems = list(examine(desk))
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors:
        raise InputError(problems)
    files = digests(desk.resources) | dict.fromkeys(desk.missing, unresolved_secrets.UNKNOWN)
    shown = {path: desk.encrypted.get(path, file) for path, file in files.items()}
    # Nodes that get the same share one document, and so its meaning, its fingerprints and its payload.
    contents = Contents()
    made: dict[int, tuple[Content, str]] = {}
    payloads: dict[str, Payload] = {}
    owners = {id(desk.documents[node.name]): node.name for node in reversed(entry.nodes)}
    exact: dict[str, str] = {}
    for key, document in documents.items():
        content = contents.of(stamped(document.value, desk))
        name, full = shown_digest(content.document, shown, owners[key]), digest(content.document, files)
        if exact.setdefault(name, full) != full:  # what names a payload on its way must name that one alone
            name = plain_fingerprint([name, owners[key]])
        made[key] = content, name
        lacking = unresolved_secrets.missing(content.document, desk.missing)
        payloads[made[key][1]] = Payload(content.document, desk.resources, lacking)
    targets = tuple(_target(node, *made[id(desk.documents[node.name])]) for node in entry.nodes)
    notes = (
        *(replace(problem, target=entry.name) for problem in problems),
        *unresolved_secrets.findings(entry.name, iter(payloads.values())),
    )
    return Desired(
        entry=entry,
        revision=desk.revision,
        targets=targets,
        resources=files if entry.deliver is Deliver.UPLOAD else {},
        payloads=payloads,
        files=fingerprint(shown) if files else "",
        shown_resources=shown if entry.deliver is Deliver.UPLOAD else {},
        notes=notes,
    )


def examine(desk: Desk) -> Iterator[Diagnostic]:
    """Everything wrong or doubtful in a cluster's settings, addresses and resources."""
    entry = desk.entry
    assert isinstance(entry, M2Cluster)
    documents = {id(document): document for document in desk.documents.values()}
    for document in documents.values():
        yield from problems_of(document)
    yield from _unaddressed(desk, entry)
    yield from _unpacked(desk, entry)
    yield from unresolved_secrets.undelivered(desk, iter(documents.values()))


def _unaddressed(desk: Desk, entry: M2Cluster) -> Iterator[Diagnostic]:
    """Nodes without a settings file, addresses that are none, and two nodes at one address."""
    first: dict[Any, str] = {}  # host and port -> node
    for index, node in enumerate(entry.nodes):
        path = f"{desk.pointer}/nodes/{index}"
        if node.name not in desk.documents and not entry.setting_of(node):
            said = f"{node.name} has no settings file"
            remedy = "write `setting: FILE` for the cluster or the node"
            yield _problem(desk, path, "no-setting", said, remedy)
        try:
            place = parse_endpoint(node.address)
            check_single_machine(place)
        except BadAddress as error:
            # A user name, which no address may have, comes with a password most often.
            shown = re.sub(r"^.*@", "…@", node.address)
            said = f'"{shown}" {error.message}'
            yield _problem(desk, f"{path}/address", "bad-address", said, error.remedy)
            continue
        if node.name not in desk.documents:
            continue  # without its settings the port is not known
        place = place.at(_port(desk.documents[node.name].value))
        other = first.setdefault(place.place, node.name)
        if other != node.name:
            said = f"{node.name} and {other} have one address, {place}"
            yield _problem(desk, f"{path}/address", "duplicate-node", said, "give each its own")


def endpoints(desk: Desk) -> dict[str, Endpoint]:
    """Node -> where it is reached; without nodes whose address, or whose settings' port, is not known."""
    entry = desk.entry
    assert isinstance(entry, M2Cluster)
    ports = {id(document): _port(document.value) for document in desk.documents.values()}
    found: dict[str, Endpoint] = {}
    for node in entry.nodes:
        with suppress(BadAddress):
            place = parse_endpoint(node.address)
            if node.name in desk.documents:
                found[node.name] = place.at(ports[id(desk.documents[node.name])])
    return found


def _unpacked(desk: Desk, entry: M2Cluster) -> Iterator[Diagnostic]:
    """Resources that cannot travel with the setting, or do not."""
    path = f"{desk.pointer}/resources"
    if SETTING in desk.resources:
        said = f"{SETTING} is in every package already, and a resource cannot have that name"
        yield _problem(desk, path, "bad-resource", said, "leave it out of `resources`")
    if desk.resources and entry.deliver is not Deliver.UPLOAD:
        said = f"resources are delivered by upload only, and this cluster says `deliver: {entry.deliver}`"
        yield Diagnostic(
            Severity.WARNING,
            "unused-resources",
            said,
            "remove them here",
            position=desk.fleet.position(path),
            pointer=path,
        )


def _port(document: Any) -> int:
    """The port of the API that a setting says."""
    port = whole(at(document, ("env", "management", "api", "port")))
    return port if isinstance(port, int) and not isinstance(port, bool) else API_PORT


def _problem(desk: Desk, path: str, code: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(Severity.ERROR, code, message, remedy, position=desk.fleet.position(path), pointer=path)


def _target(node: M2Node, content: Content, payload: str) -> Target:
    base = parse_endpoint(node.address).base(_port(content.canonical))
    return Target(node.name, (base,), content, payload, trusted=node.first_delivery)


def recall(desired: Desired, facts: Mapping[str, Mapping[str, str]]) -> Desired:
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


def _recalled(target: Target, facts: Mapping[str, str], place: Endpoint) -> Target:
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
    except BadAddress:
        return False
    return known.port is not None and replace(known, port=None) == replace(place, port=None)


def stamped(document: Any, desk: Desk) -> Any:
    """The document as an upload delivers it: with the commit's short id where the fleet file asks for it.

    What a node takes from its disk or its own git repository is what lies there, without it.
    """
    entry = desk.entry
    assert isinstance(entry, M2Cluster)
    if not entry.is_stamped or not isinstance(document, Mapping):
        return document
    return {**document, "meta": {**mapping(document, "meta"), "version": desk.revision.short}}
