"""`reconcile render`: the settings of a node, and the file and line that each value comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.options import CommonOptions, Source, SourceOptions, add_command, make_app
from reconciler.core.canonical import strip_editor_key
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet
    from reconciler.documents.document import Document

app = make_app()

_NEAREST = 3


@dataclass(frozen=True, slots=True)
class NodeDocument:
    """A node and its settings."""

    cluster: str
    node: str
    document: Document
    unmanaged: tuple[tuple[str, str], ...] = ()
    """Pattern and position of each field in which the node keeps what it has."""

    @property
    def key(self) -> tuple[int, tuple[tuple[str, str], ...]]:
        """Equal for nodes whose settings are equal, which share one document."""
        return id(self.document), self.unmanaged


@add_command(app)
def run_render(
    source: Source = ".",
    *,
    node: Annotated[
        str, typer.Option(metavar="NODE", help="Node, as NODE or CLUSTER/NODE; required if nodes differ.")
    ] = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show each value with the file and line that it comes from.")
    ] = False,
    source_options: SourceOptions,
    common: CommonOptions,
) -> int:
    """Print the settings of a node as JSON, with all overlays applied.

    Secrets are shown as references and are not resolved. If nodes have different settings and --node is not
    given, the nodes are listed; those with equal settings are on one line.
    """
    from reconciler.desired.fleet import load_fleet
    from reconciler.drivers.registry import DRIVERS
    from reconciler.host import aio
    from reconciler.planning.inventory_source import add_inventory

    host = common.read_host(source)
    found = add_inventory(source_options.locate(source, host), host, DRIVERS, state=None)
    snapshot = aio.run_until_signal(found.snapshot())
    # Where the instances are not known, an example shows the setting that each of them would get.
    known = replace(snapshot.inventory, makes_examples=True)
    fleet = load_fleet(replace(snapshot, inventory=known), DRIVERS)
    common.open_terminal().say(format_documents(fleet, node, explain=explain))
    return 0


def format_documents(fleet: Fleet, node: str, *, explain: bool) -> str:
    """The output of the command.

    Args:
        fleet: with secrets as references.
        node: a node's name, or `cluster/node`; empty for the one document of all nodes.
        explain: one line for each value instead of JSON.

    Raises:
        UsageError: there is no such node, or it has no settings file.
    """
    all_documents = [
        NodeDocument(
            cluster_input.entry.name,
            name,
            document,
            tuple(
                (one.text, str(cluster_input.fleet.position(one.pointer)))
                for one in cluster_input.unmanaged.get(name, ())
            ),
        )
        for cluster_input in fleet.cluster_inputs
        for name, document in cluster_input.documents.items()
    ]
    chosen = [one for one in all_documents if node in {"", one.node, f"{one.cluster}/{one.node}"}]
    if not chosen:
        raise _make_refusal(fleet, all_documents, node)
    if len({one.key for one in chosen}) > 1:
        return _list_nodes(chosen)
    document = chosen[0].document
    if not explain:
        return _format_json(strip_editor_key(document.value))
    return (
        _explain_origins(fleet, chosen) + _explain_values(document) + _explain_unmanaged(chosen[0].unmanaged)
    )


def _explain_origins(fleet: Fleet, chosen: list[NodeDocument]) -> str:
    """A line for each node that the fleet file does not name itself."""
    from reconciler.planning.inventory_report import describe_origin

    origins = {
        (cluster_input.entry.name, name): describe_origin(fleet, node)
        for cluster_input in fleet.cluster_inputs
        for name, node in cluster_input.inventory.items()
    }
    lines = [
        f"# {one.node}: {origins[one.cluster, one.node]}\n"
        for one in chosen
        if (one.cluster, one.node) in origins
    ]
    return "".join(lines)


def _make_refusal(fleet: Fleet, documents: list[NodeDocument], node: str) -> UsageError:
    from reconciler.text.suggestions import find_similar, join_choices

    known = {
        member.name for cluster_input in fleet.cluster_inputs for member in cluster_input.entry.members()
    }
    if not node or node.rpartition("/")[2] in known:
        who = f"the node {node!r}" if node else "no node of this fleet"
        return UsageError(
            f"there is no settings file for {who}" if node else f"{who} gets a settings file",
            remedy="`reconcile render` works only for products with a settings file, such as m2",
        )
    near = find_similar(node, [one.node for one in documents], most=_NEAREST)
    remedy = f"did you mean {join_choices(near)}?" if near else "leave out --node to see all names"
    return UsageError(f"unknown node {node!r}", remedy=remedy)


def _list_nodes(documents: list[NodeDocument]) -> str:
    """The names of nodes; those with equal settings are on one line."""
    from reconciler.descriptions.values import format_count
    from reconciler.text.one_line import clean_line

    groups: dict[Any, list[NodeDocument]] = {}
    for one in documents:
        groups.setdefault(one.key, []).append(one)
    head = (
        f"{format_count(len(documents), 'node')} have {format_count(len(groups), 'different setting')}; "
        f"choose with --node:\n"
    )
    lines = (
        f"  {clean_line(', '.join(f'{one.cluster}/{one.node}' for one in group))}\n"
        for group in groups.values()
    )
    return head + "".join(lines)


def _format_json(value: Any) -> str:
    import json
    import sys

    from reconciler.core.secret import mask
    from reconciler.secrets.redaction import hide_by_key

    # In another encoding than UTF-8 no program could read it: JSON is UTF-8, of which ASCII is a part.
    is_utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    text = json.dumps(mask(hide_by_key("", value)), ensure_ascii=not is_utf8, indent=2)
    return text.encode(errors="backslashreplace").decode() + "\n"


def _explain_values(document: Document) -> str:
    """Pointer, value and position of each leaf."""
    from reconciler.descriptions.values import format_value
    from reconciler.secrets.redaction import hide_by_key
    from reconciler.text.json_pointer import make_pointer
    from reconciler.text.one_line import clean_line

    lines = []
    for path, value in _walk_leaves(hide_by_key("", strip_editor_key(document.value)), ()):
        pointer = make_pointer(path)
        at = document.position(pointer)
        where = f"{at.file}:{at.line}" if at.line else at.file
        lines.append(f"{clean_line(pointer) or '(whole)'}: {format_value(value)}  <- {clean_line(where)}\n")
    return "".join(lines)


def _explain_unmanaged(fields: tuple[tuple[str, str], ...]) -> str:
    """One line for each field in which the node keeps what it has."""
    from reconciler.text.one_line import clean_line

    return "".join(
        f"{clean_line(pattern)}: unmanaged, the node keeps its own value  <- {clean_line(where)}\n"
        for pattern, where in fields
    )


def _walk_leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _walk_leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _walk_leaves(item, (*path, index))
    else:
        yield path, value
