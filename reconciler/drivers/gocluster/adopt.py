"""A Go cluster as the desired state would describe it, from the API of one of its nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.endpoint import InvalidAddress, parse_api, parse_endpoint
from reconciler.core.entries import Timeouts
from reconciler.core.observation import Observed, Present
from reconciler.core.secret import reveal
from reconciler.drivers.gocluster.adopt_file import (
    AdoptedFiles,
    UnfitFiles,
    adopt_files,
    find_address,
    recover_values,
)
from reconciler.drivers.gocluster.client import Client
from reconciler.drivers.gocluster.cluster_view import NODE_NAME
from reconciler.drivers.gocluster.desired_state import GoDesired, find_changed_authentication, make_scope
from reconciler.drivers.gocluster.mesh import Mesh, is_same_address
from reconciler.drivers.gocluster.view import NodeView
from reconciler.errors import NodeError, NodeUnreachable, UsageError
from reconciler.ports.driver import LiveState
from reconciler.ports.transport import Transports
from reconciler.text.one_line import MOST_NAMES, join_some

ADDRESS_OF: Final = "@"
"""In an address of the option: between the name of the node's manager and its API."""

FILE_OF: Final = "file="
"""Before the name of the host's entry for the configuration file, among the addresses of the option."""


@dataclass(frozen=True, slots=True)
class ImportAnswer:
    """What the APIs show that are named for a new cluster.

    Args:
        apis: node -> its API, of those that are named.
        views: node -> its view, of those that answer.
    """

    apis: Mapping[str, str]
    views: Mapping[str, NodeView]


async def make_entry(
    name: str, addresses: Sequence[str], transports: Transports, host_files: Sequence[str]
) -> dict[str, Any]:
    """The cluster that some of its nodes show, each of which lists all members but itself.

    Its template is made of the nodes' files afterwards, see `read_new_cluster`.

    Args:
        name: of the cluster.
        addresses: of APIs: `URL`, or `MANAGER@URL` if the process has several managers or does not answer;
            and at most once `file=ENTRY`, the host's entry for the configuration file.
        transports: to the nodes.
        host_files: the entries of `files` that the host has.

    Raises:
        UsageError: an address is invalid, a process has several managers, or it is not clear which file is
            that of the application.
        NodeError: the nodes do not show enough.
    """
    apis = [address for address in addresses if not address.startswith(FILE_OF)]
    named = [address.removeprefix(FILE_OF) for address in addresses if address.startswith(FILE_OF)]
    file = _choose_file(name, named, host_files)
    answer = await _read_apis(name, apis, transports)
    return {
        "name": name,
        "kind": "gocluster",
        "config": {"template": f"{name}/config.tmpl", "file": file},
        "nodes": _list_nodes(name, answer),
    }


def _choose_file(name: str, named: Sequence[str], host_files: Sequence[str]) -> str:
    """The host's entry for the file: the named one, that of the cluster's name, or the only one."""
    usual = f"{name}-config"
    known = join_some(sorted(host_files), MOST_NAMES) or "none"
    if len(named) > 1 or (named and named[0] not in host_files):
        words = f"--gocluster {name}: {', '.join(named)} is no file of the host configuration; it has {known}"
        raise UsageError(words, remedy=f"write one entry of `files`, such as {FILE_OF}{usual}")
    if named:
        return named[0]
    if usual in host_files:
        return usual
    if len(host_files) == 1:
        return host_files[0]
    if not host_files:
        raise UsageError(
            f"--gocluster {name}: no node shows its configuration file, and the host names none",
            remedy="name the file of the application, and the way to it, under `files` of the host "
            "configuration, as in examples/gocluster/host.yaml, then import again",
        )
    raise UsageError(
        f"--gocluster {name}: the host configuration names several files: {known}",
        remedy=f"add the one of the application: --gocluster {name}=URL,{FILE_OF}ENTRY",
    )


async def _read_apis(name: str, addresses: Sequence[str], transports: Transports) -> ImportAnswer:
    apis: dict[str, str] = {}
    views: dict[str, NodeView] = {}
    trouble: NodeError | None = None
    waits = Timeouts()
    if not addresses:
        raise UsageError(f"--gocluster {name}: no API is named", remedy="for example http://192.0.2.1:8080")
    for manager, api in [_split(name, address) for address in addresses]:
        try:
            found = manager or await _find_manager(name, api, transports)
            _require_name(found)
            if found in apis:
                words = f"--gocluster {name}: {apis[found]} and {api} are both the API of {found}"
                raise UsageError(words, remedy="name each node once")
            apis[found] = api
            client = Client(transports.http, found, api, waits.read, waits.connect)
            views[found] = await client.read_view()
        except NodeUnreachable as error:
            if not manager:
                raise _make_unnamed(api, error) from error
            trouble = trouble or error
    if not views:
        assert trouble is not None
        raise trouble
    return ImportAnswer(apis, views)


def _make_unnamed(api: str, error: NodeError) -> NodeError:
    """A process that does not answer cannot tell which node it is."""
    name = f"if another node of the cluster answers, write which node it is, such as NAME@{api}"
    return NodeUnreachable(error.node, error.reason, remedy=f"{error.remedy or 'start it'}; {name}")


async def _find_manager(name: str, api: str, transports: Transports) -> str:
    waits = Timeouts()
    managers = await Client(transports.http, name, api, waits.read, waits.connect).read_managers()
    if len(managers) != 1:
        shown = ", ".join(managers) or "none"
        raise UsageError(
            f"--gocluster {name}: the process at {api} has these managers: {shown}",
            remedy=f"write the one that is meant, such as NAME@{api}",
        )
    return managers[0]


def _split(name: str, address: str) -> tuple[str, str]:
    manager, _, api = address.rpartition(ADDRESS_OF)
    try:
        is_bare = not parse_api(api).path
    except InvalidAddress:
        is_bare = False
    if not is_bare or (manager and not NODE_NAME.fullmatch(manager)):
        raise UsageError(
            f"--gocluster {name}: {address!r} is not the address of an API",
            remedy="for example http://192.0.2.1:8080, or node1@http://192.0.2.1:8080",
        )
    return manager, api


def _require_name(node: str) -> None:
    if not NODE_NAME.fullmatch(node):
        raise NodeUnreachable(
            node, "its name cannot stand in a fleet file", remedy="rename it in the application"
        )


def _list_nodes(name: str, answer: ImportAnswer) -> list[dict[str, Any]]:
    """The members by all views, which have to agree; each node's own address is known from another view only.

    Raises:
        UsageError: two views show other members, or another address of one.
    """
    addrs: dict[str, str] = {}
    memberships: dict[frozenset[str], str] = {}
    for own, view in answer.views.items():
        memberships.setdefault(frozenset((own, *(row.name for row in view.peers))), own)
        for row in view.peers:
            _require_name(row.name)
            if not is_same_address(addrs.setdefault(row.name, row.address), row.address):
                words = (
                    f"its nodes disagree about the address of {row.name}: {addrs[row.name]}, {row.address}"
                )
                raise UsageError(f"cannot import {name}: {words}", remedy="correct their files first")
    if len(memberships) > 1:
        one, other, *_ = memberships.values()
        words = f"cannot import {name}: {one} and {other} disagree about its members"
        raise UsageError(words, remedy="wait until a change has ended, or correct their files first")
    members = next(iter(memberships))
    if strange := sorted(answer.apis.keys() - members):
        words = f"cannot import {name}: no node that answers has {strange[0]} among its peers"
        raise UsageError(words, remedy="name the nodes of one cluster")
    nodes: list[dict[str, Any]] = []
    for node in sorted(members):
        # No node shows its own address. This is a guess, until its files confirm it.
        guess = f"{parse_api(answer.apis[node]).host}:{_guess_port(addrs)}" if node in answer.apis else ""
        entry = {"name": node, "addr": addrs.get(node, guess)}
        nodes.append(entry | ({"api": answer.apis[node]} if node in answer.apis else {}))
    return nodes


def _guess_port(addrs: dict[str, str]) -> int:
    for address in addrs.values():
        try:
            port = parse_endpoint(address).port
        except InvalidAddress:
            continue
        if port:
            return port
    return 9654


def is_new(desired: GoDesired) -> bool:
    """Whether the cluster is being written for the first time: its template is still empty."""
    return desired.template is not None and not desired.template.text


def read_live_state(desired: GoDesired, observed: Observed[NodeView | None]) -> LiveState:
    """The cluster as its nodes show it: a new one with a template of their files."""
    return _read_new_cluster(desired, observed) if is_new(desired) else _read_known_cluster(desired, observed)


def _read_contents(
    desired: GoDesired, observed: Observed[NodeView | None]
) -> tuple[dict[str, bytes], list[str]]:
    """Node -> its file, and why others cannot be read."""
    contents: dict[str, bytes] = {}
    unread: list[str] = []
    for node in sorted(desired.members):
        reading = observed.files.get(node, {}).get(desired.entry.config.file)
        if isinstance(reading, Present):
            if reading.value.content is not None:
                contents[node] = reading.value.content
        else:
            why = getattr(reading, "reason", "") or "it was not read"
            unread.append(f"the file {desired.entry.config.file} of {node} cannot be read: {why}")
    return contents, unread


def _read_new_cluster(desired: GoDesired, observed: Observed[NodeView | None]) -> LiveState:
    entry = desired.entry
    contents, unread = _read_contents(desired, observed)
    if unread:
        return LiveState(missing=tuple(unread))
    addresses = dict(desired.members)
    for node in entry.nodes:
        # Only of one node can it be unknown: any two views show all addresses.
        if node.api is not None and len([one for one in entry.nodes if one.api is not None]) == 1:
            addresses[node.name] = find_address(node.name, addresses, contents)
    unknown = sorted(node for node, address in addresses.items() if not address)
    if unknown:
        words = f"where {unknown[0]} listens is not known: no node shows its own address"
        return LiveState(missing=(f"{words}; name the API of a second node, too",))
    try:
        found = adopt_files(addresses, contents)
    except UnfitFiles as error:
        return LiveState(missing=(f"{error}; write template and values by hand, see docs/gocluster.md",))
    return LiveState(
        documents=found.values,
        files={entry.config.template: found.template},
        nodes=tuple(
            {"name": node.name, "addr": addresses[node.name], **({"api": node.api} if node.api else {})}
            for node in sorted(entry.nodes, key=lambda one: one.name)
        ),
        updated_keys=("addr",),
        entry=_make_new_entry(desired, found),
        open_points=tuple(f"{entry.name}: {words}" for words in (*found.notes, *_list_open_points())),
        is_careful=True,
    )


def _make_new_entry(desired: GoDesired, found: AdoptedFiles) -> dict[str, Any]:
    own = desired.entry
    config = {"template": own.config.template, "file": own.config.file}
    if found.values:
        config["values"] = f"{own.name}/values.json"
    return {"config": config, **found.entry}


def _list_open_points() -> Iterator[str]:
    yield (
        "only files are compared. To have nodes restarted, name `restart`, `start` and `stop`, give each "
        "node its `api`, and set `observe: true` (each reading leaves a lock in the library)"
    )


def _read_known_cluster(desired: GoDesired, observed: Observed[NodeView | None]) -> LiveState:
    """Members by the nodes' own views, which have to agree, and values by their files."""
    contents, unread = _read_contents(desired, observed)
    documents = {node: document for node in contents if (document := _recover(desired, node, contents[node]))}
    for node, content in contents.items():
        # Planned for all nodes at once, or held back: not a difference that a file could be edited by.
        if what := find_changed_authentication(desired, node, content):
            words = f"{node} has another value of {what} than the committed files give"
            unread.append(f"{words}: change it where it is kept, then import again")
    if not desired.entry.observe:
        return LiveState(documents=documents, missing=tuple(unread))
    members = _read_members(desired, observed)
    return LiveState(
        documents=documents,
        nodes=members.nodes,
        missing=(*members.missing, *unread),
        updated_keys=members.updated_keys,
    )


def _recover(desired: GoDesired, node: str, content: bytes) -> Mapping[str, Any] | None:
    """The file of values with what the node's own file has in its places; None if that does not tell."""
    entry, values = desired.entry.node(node), desired.values.get(node)
    if entry is None or desired.template is None or not values:
        return None
    scope = make_scope(desired.entry, entry, values)
    found = recover_values(desired.template, scope, content.decode("utf-8", "replace"))
    return _merge(reveal(values), found) if found is not None else None


def _merge(below: Any, above: Any) -> Any:
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    return {**below, **{key: _merge(below.get(key), item) for key, item in above.items()}}


def _read_members(desired: GoDesired, observed: Observed[NodeView | None]) -> LiveState:
    """The members by the nodes' own views, which have to agree; entries keep what the file says of them."""
    views = {name: view for name, view in observed.present().items() if view is not None}
    name = desired.entry.name
    if not views:
        return LiveState(missing=(f"no node of {name} shows its peers",))
    memberships = {frozenset((own, *(row.name for row in view.peers))) for own, view in views.items()}
    if len(memberships) > 1:
        return LiveState(missing=(f"the nodes of {name} disagree about its members",))
    mesh = Mesh(desired.members, views)
    addresses = {row.name: row.address for view in mesh.views.values() for row in view.peers}
    nodes, missing = [], []
    for node in sorted(next(iter(memberships))):
        known = desired.entry.node(node)
        if not NODE_NAME.fullmatch(node):
            missing.append(f"a node of {name} has a name that a fleet file cannot have")
            continue
        entry: dict[str, Any] = {"name": node, "addr": addresses.get(node, known.addr if known else "")}
        if known is not None and known.api is not None:
            entry["api"] = known.api
        elif desired.entry.observe:
            missing.append(f"{node} is in {name}, and no node shows the address of its API")
        nodes.append(entry)
    return LiveState(nodes=tuple(nodes), missing=tuple(missing), updated_keys=("addr",))
