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
    new_app,
)
from reconciler.core.editors import delivered
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet
    from reconciler.documents.document import Document

app = new_app()

_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Share:
    """A node with the document that it gets."""

    cluster: str
    node: str
    document: Document


@app.command()
def render(
    context: typer.Context,
    source: Source = ".",
    *,
    node: Annotated[
        str, typer.Option(metavar="NAME", help="The node, or CLUSTER/NODE; needed where nodes differ.")
    ] = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Each value with the file and line that it came from.")
    ] = False,
    ref: Ref = "",
    path: Within = "",
    sha256: Sha256 = "",
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Print the settings that a node gets, as JSON, with overlays laid over their base.

    Secrets are shown as their references and are not looked up. Where several nodes get different
    settings and none is named, the nodes are listed, those that get the same together.
    """
    from reconciler.cli.host import read_host  # noqa: PLC0415
    from reconciler.cli.state_folder import copies_of_sources  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415
    from reconciler.desired.fleet import load  # noqa: PLC0415
    from reconciler.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.host import aio  # noqa: PLC0415
    from reconciler.sources.locate import locate  # noqa: PLC0415

    host = read_host(context, host_config, source)
    cache = copies_of_sources(None)
    found = locate(source, ref=ref, path=path, sha256=sha256, cache=cache, environment=host.environment)
    terminal = Terminal.here(no_color=no_color)
    terminal.say(rendering(load(aio.run(found.snapshot()), DRIVERS), node, explain=explain))
    return 0


def rendering(fleet: Fleet, node: str, *, explain: bool) -> str:
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
    return _explained(document) if explain else _json(delivered(document.value))


def _shares(fleet: Fleet) -> Iterator[Share]:
    for desk in fleet.desks:
        for name, document in desk.documents.items():
            yield Share(desk.entry.name, name, document)


def _nobody(fleet: Fleet, shares: list[Share], node: str) -> UsageError:
    from reconciler.text.suggest import similar  # noqa: PLC0415

    known = {member.name for desk in fleet.desks for member in desk.entry.members()}
    if not node or node.rpartition("/")[2] in known:
        who = f"the node {node!r}" if node else "no node of this fleet"
        return UsageError(
            f"there is no settings file for {who}" if node else f"{who} gets a settings file",
            remedy="only products with a settings file, such as m2, have something to render",
        )
    near = similar(node, [share.node for share in shares], most=_NEAREST)
    remedy = f"the nearest names: {', '.join(near)}" if near else "leave --node out to see all names"
    return UsageError(f"no node is named {node!r}", remedy=remedy)


def _listed(shares: list[Share]) -> str:
    """The nodes, those that get the same on one line."""
    from reconciler.cli.render.clean import plural  # noqa: PLC0415
    from reconciler.text.one_line import clean  # noqa: PLC0415

    alike: dict[int, list[Share]] = {}
    for share in shares:
        alike.setdefault(id(share.document), []).append(share)
    head = (
        f"{plural(len(shares), 'node')} get {plural(len(alike), 'different setting')}; choose with --node:\n"
    )
    lines = (
        f"  {clean(', '.join(f'{share.cluster}/{share.node}' for share in group))}\n"
        for group in alike.values()
    )
    return head + "".join(lines)


def _json(value: Any) -> str:
    import json  # noqa: PLC0415

    from reconciler.core.secret import mask  # noqa: PLC0415
    from reconciler.secrets.redact import hidden_by_key  # noqa: PLC0415

    text = json.dumps(mask(hidden_by_key("", value)), ensure_ascii=False, indent=2)
    return text.encode(errors="backslashreplace").decode() + "\n"


def _explained(document: Document) -> str:
    """Each leaf: pointer, value, and where it came from."""
    from reconciler.cli.render.clean import shown  # noqa: PLC0415
    from reconciler.secrets.redact import hidden_by_key  # noqa: PLC0415
    from reconciler.text.json_pointer import pointer  # noqa: PLC0415
    from reconciler.text.one_line import clean  # noqa: PLC0415

    lines = []
    for path, value in _leaves(hidden_by_key("", delivered(document.value)), ()):
        place = pointer(path)
        at = document.position(place)
        where = f"{at.file}:{at.line}" if at.line else at.file
        lines.append(f"{clean(place) or '(whole)'}: {shown(value)}  <- {clean(where)}\n")
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
