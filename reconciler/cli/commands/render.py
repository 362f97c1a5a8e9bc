"""`reconcile render`: what a node gets, and which file and line each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.options import (
    HostConfigFile,
    NoColor,
    Ref,
    Sha256,
    Source,
    Within,
    make_app,
)
from reconciler.core.canonical import strip_editor_key
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet
    from reconciler.documents.document import Document

app = make_app()

_NEAREST = 3


@dataclass(frozen=True, slots=True)
class NodeDocument:
    """A node with the document that it gets."""

    cluster: str
    node: str
    document: Document


@app.command()
def run_render(
    context: typer.Context,
    source: Source = ".",
    *,
    node: Annotated[
        str, typer.Option(metavar="NAME", help="Node, as NODE or CLUSTER/NODE; required if nodes differ.")
    ] = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show each value with the file and line that it comes from.")
    ] = False,
    ref: Ref = "",
    path: Within = "",
    sha256: Sha256 = "",
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Print the settings of a node as JSON, with all overlays applied.

    Secrets are shown as references and are not resolved. If nodes have different settings and --node is not
    given, the nodes are listed; those with equal settings are on one line.
    """
    from reconciler.cli.host_loader import read_host  # noqa: PLC0415
    from reconciler.cli.state_folder import find_source_cache  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415
    from reconciler.desired.fleet import load_fleet  # noqa: PLC0415
    from reconciler.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.host import aio  # noqa: PLC0415
    from reconciler.sources.locate import locate_source  # noqa: PLC0415

    host = read_host(context, host_config, source)
    cache = find_source_cache(None)
    found = locate_source(
        source, ref=ref, path=path, sha256=sha256, cache=cache, environment=host.environment
    )
    terminal = Terminal.here(no_color=no_color)
    terminal.say(
        format_documents(load_fleet(aio.run_until_signal(found.snapshot()), DRIVERS), node, explain=explain)
    )
    return 0


def format_documents(fleet: Fleet, node: str, *, explain: bool) -> str:
    """What the command prints.

    Args:
        fleet: with secrets as references.
        node: a node's name, or `cluster/node`; empty for the one document that all nodes get.
        explain: one line for each value instead of JSON.

    Raises:
        UsageError: no node has that name, or none of them gets a settings file.
    """
    shares = list(_shares(fleet))
    chosen = [share for share in shares if node in {"", share.node, f"{share.cluster}/{share.node}"}]
    if not chosen:
        raise _nobody(fleet, shares, node)
    if len({id(share.document) for share in chosen}) > 1:
        return _listed(chosen)
    document = chosen[0].document
    return _explained(document) if explain else _json(strip_editor_key(document.value))


def _shares(fleet: Fleet) -> Iterator[NodeDocument]:
    for cluster_input in fleet.cluster_inputs:
        for name, document in cluster_input.documents.items():
            yield NodeDocument(cluster_input.entry.name, name, document)


def _nobody(fleet: Fleet, shares: list[NodeDocument], node: str) -> UsageError:
    from reconciler.text.suggestions import find_similar  # noqa: PLC0415

    known = {
        member.name for cluster_input in fleet.cluster_inputs for member in cluster_input.entry.members()
    }
    if not node or node.rpartition("/")[2] in known:
        who = f"the node {node!r}" if node else "no node of this fleet"
        return UsageError(
            f"there is no settings file for {who}" if node else f"{who} gets a settings file",
            remedy="`reconcile render` works only for products with a settings file, such as m2",
        )
    near = find_similar(node, [share.node for share in shares], most=_NEAREST)
    remedy = f"did you mean {' or '.join(near)}?" if near else "leave out --node to see all names"
    return UsageError(f"unknown node {node!r}", remedy=remedy)


def _listed(shares: list[NodeDocument]) -> str:
    """The nodes, those that get the same on one line."""
    from reconciler.cli.render.values import format_count  # noqa: PLC0415
    from reconciler.text.one_line import clean_line  # noqa: PLC0415

    alike: dict[int, list[NodeDocument]] = {}
    for share in shares:
        alike.setdefault(id(share.document), []).append(share)
    head = (
        f"{format_count(len(shares), 'node')} get {format_count(len(alike), 'different setting')}; "
        f"choose with --node:\n"
    )
    lines = (
        f"  {clean_line(', '.join(f'{share.cluster}/{share.node}' for share in group))}\n"
        for group in alike.values()
    )
    return head + "".join(lines)


def _json(value: Any) -> str:
    import json  # noqa: PLC0415

    from reconciler.core.secret import mask  # noqa: PLC0415
    from reconciler.secrets.redaction import hide_by_key  # noqa: PLC0415

    text = json.dumps(mask(hide_by_key("", value)), ensure_ascii=False, indent=2)
    return text.encode(errors="backslashreplace").decode() + "\n"


def _explained(document: Document) -> str:
    """Each leaf: pointer, value, and where it came from."""
    from reconciler.cli.render.values import format_value  # noqa: PLC0415
    from reconciler.secrets.redaction import hide_by_key  # noqa: PLC0415
    from reconciler.text.json_pointer import make_pointer  # noqa: PLC0415
    from reconciler.text.one_line import clean_line  # noqa: PLC0415

    lines = []
    for path, value in _leaves(hide_by_key("", strip_editor_key(document.value)), ()):
        place = make_pointer(path)
        at = document.position(place)
        where = f"{at.file}:{at.line}" if at.line else at.file
        lines.append(f"{clean_line(place) or '(whole)'}: {format_value(value)}  <- {clean_line(where)}\n")
    return "".join(lines)


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value
