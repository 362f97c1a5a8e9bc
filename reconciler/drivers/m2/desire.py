"""From a cluster's entry and its settings files to what each node is to have; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.core.plain import pointer
from reconciler.core.plan import Finding, Payload
from reconciler.core.ports import Desk, Document
from reconciler.core.problem import Problem, Severity
from reconciler.core.secret import Secret
from reconciler.drivers.m2 import features, rules, shape
from reconciler.drivers.m2.address import BadAddress, endpoint
from reconciler.drivers.m2.content import Contents
from reconciler.drivers.m2.fault import Path, at, items, mapping, positioned
from reconciler.drivers.m2.package import digest, digests
from reconciler.drivers.m2.schema import Content, Deliver, Desired, M2Cluster, M2Node, Target
from reconciler.errors import InputError

API_PORT = 10040
"""The port of the management API where the setting does not say."""

_MEMBERS: Path = ("env", "management", "cluster", "discover", "members")


def problems_of(document: Document) -> list[Problem]:
    """Everything wrong in one settings file, errors and warnings, in the order of their positions."""
    value = document.value
    return positioned(document, [*shape.faults(value), *rules.faults(value), *features.faults(value)])


def desire(desk: Desk) -> Desired:
    """What each node of the cluster is to have.

    Raises:
        InputError: with every problem of the cluster's files and addresses.
    """
    entry = desk.entry
    assert isinstance(entry, M2Cluster)
    documents = {id(document): document for document in desk.documents.values()}
    problems = [problem for document in documents.values() for problem in problems_of(document)]
    problems += _unaddressed(desk, entry)
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors:
        raise InputError(errors)
    contents = Contents()
    made = {key: contents.of(_stamped(document.value, desk)) for key, document in documents.items()}
    payloads = {key: Payload(content.document, desk.resources) for key, content in made.items()}
    named = {key: digest(payload) for key, payload in payloads.items()}
    targets = tuple(_target(node, desk, made, named) for node in entry.nodes)
    notes = tuple(_note(entry.name, problem) for problem in problems)
    return Desired(
        entry=entry,
        revision=desk.revision,
        targets=targets,
        resources=digests(desk.resources) if entry.deliver is Deliver.UPLOAD else {},
        payloads={named[key]: payloads[key] for key in payloads},
        notes=notes,
    )


def alone(document: Document) -> dict[str, Any]:
    """The cluster that a lone `setting.json` stands for: its members, at its API's port.

    Raises:
        InputError: its members are not addresses.
    """
    members = [text for _, text in _members(document.value)]
    unusable = next(((path, text) for path, text in _members(document.value) if text.startswith("#")), None)
    if not members or unusable:
        path = unusable[0] if unusable else _MEMBERS
        said = f"{unusable[1]} is found out by the nodes themselves" if unusable else "no member is named"
        raise InputError(
            [
                Problem(
                    document.position(pointer(path)),
                    pointer(path),
                    Severity.ERROR,
                    "no-nodes",
                    f"a lone setting.json names its nodes in cluster.discover.members, and here {said}",
                    "list the members' addresses, or write a fleet.yaml beside it that names the nodes",
                )
            ]
        )
    hosts = list(dict.fromkeys(_host(text) for text in members))
    nodes = [
        {"name": host.replace(":", "."), "address": f"[{host}]" if ":" in host else host} for host in hosts
    ]
    return {"name": "m2", "kind": "m2", "setting": document.name, "nodes": nodes}


def _members(document: Any) -> Iterator[tuple[Path, str]]:
    """(path, text) of every member, in groups or not."""
    for index, item in items(document, *_MEMBERS):
        if isinstance(item, str):
            yield (*_MEMBERS, index), item
        for place, node in items(item, "nodes"):
            if isinstance(node, str):
                yield (*_MEMBERS, index, "nodes", place), node


def _host(text: str) -> str:
    try:
        return endpoint(text).host
    except BadAddress:
        return text  # the rules say what is wrong with it, at its place


def _unaddressed(desk: Desk, entry: M2Cluster) -> Iterator[Problem]:
    """Nodes without a settings file, and addresses that are none."""
    for index, node in enumerate(entry.nodes):
        path = f"{desk.pointer}/nodes/{index}"
        if node.name not in desk.documents:
            said = f"{node.name} has no settings file"
            yield _problem(
                desk, path, "no-setting", said, "write `setting: FILE` for the cluster or the node"
            )
        try:
            endpoint(node.address)
        except BadAddress as error:
            said = f'"{node.address}" {error.message}'
            yield _problem(desk, f"{path}/address", "bad-address", said, error.remedy)


def _problem(desk: Desk, path: str, code: str, message: str, remedy: str) -> Problem:
    return Problem(desk.fleet.position(path), path, Severity.ERROR, code, message, remedy)


def _target(node: M2Node, desk: Desk, made: Mapping[int, Content], named: Mapping[int, str]) -> Target:
    key = id(desk.documents[node.name])
    port = at(made[key].document, ("env", "management", "api", "port"))
    recalled = desk.recalled.get(node.name, {})
    place = endpoint(node.address)
    bases = [place.base(port if isinstance(port, int) else API_PORT)]
    if place.port is None and recalled.get("base"):
        bases.append(recalled["base"])
    return Target(node.name, tuple(dict.fromkeys(bases)), made[key], named[key], recalled)


def _stamped(document: Any, desk: Desk) -> Any:
    """The document as it is delivered: with the commit's short id where the fleet file asks for it."""
    entry = desk.entry
    assert isinstance(entry, M2Cluster)
    if entry.version is None or entry.deliver is not Deliver.UPLOAD or isinstance(document, Secret):
        return document
    return {**document, "meta": {**mapping(document, "meta"), "version": desk.revision.short}}


def _note(cluster: str, problem: Problem) -> Finding:
    return Finding(
        problem.severity, problem.code, cluster, f"{problem.position}: {problem.message}", problem.remedy
    )
