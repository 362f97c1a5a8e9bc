"""Which clusters and nodes a command is about, by names, kinds, labels and patterns; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from reconciler.errors import UsageError
from reconciler.text.one_line import join_some, quote_text
from reconciler.text.suggestions import find_similar

if TYPE_CHECKING:  # the models take time to import, and every command reads its options
    from reconciler.core.entries import ClusterEntry, NodeEntry

KIND: Final = "kind:"
"""Before the product of the clusters that are meant."""

DOMAIN: Final = "domain"
"""The label that each node with a failure domain has."""

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Selection:
    """What a command is restricted to.

    Each entry is a cluster, a node, `CLUSTER/NODE`, `kind:KIND` or `LABEL=VALUE`; `*`, `?` and `[…]` stand
    for parts of names. A name that a cluster has means the cluster.

    Args:
        only: what alone is taken; empty for all.
        skip: what is left out of that.
    """

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()

    @classmethod
    def of(cls, only: str | Selection) -> Selection:
        """The selection of one name; of all if it is empty."""
        return only if isinstance(only, Selection) else cls((only,) if only else ())

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return not self.only and not self.skip

    def __str__(self) -> str:
        words = [*(f"--only {one}" for one in self.only), *(f"--skip {one}" for one in self.skip)]
        return " ".join(words)


EVERYTHING: Final = Selection()


def format_selection(selection: Selection) -> str:
    """A selection as one text, for another process; `load_selection` reads it."""
    if len(selection.only) <= 1 and not selection.skip:
        return "".join(selection.only)
    return json.dumps([selection.only, selection.skip])


def load_selection(text: str) -> Selection:
    """What `format_selection` wrote; else the text is the one name."""
    # No name of a cluster or node begins like a list.
    with suppress(ValueError, TypeError):
        only, skip = json.loads(text)
        return Selection(tuple(map(str, only)), tuple(map(str, skip)))
    return Selection.of(text)


def select_nodes(
    selection: Selection, entries: Sequence[ClusterEntry], *, is_lenient: bool = False
) -> dict[str, frozenset[str]]:
    """Cluster -> the selected nodes; a cluster without one is left out.

    Args:
        selection: what is asked for.
        entries: all clusters of the fleet.
        is_lenient: whether `skip` may name what the fleet does not have any more.

    Raises:
        UsageError: an entry matches nothing, or nothing is left.
    """
    everything = {entry.name: frozenset(node.name for node in entry.members()) for entry in entries}
    if selection.is_everything:
        return everything
    chosen = everything
    if selection.only:
        chosen = _unite(_match("--only", one, entries) for one in selection.only)
    left_out = _unite(_match("--skip", one, entries, is_lenient=is_lenient) for one in selection.skip)
    # A cluster without nodes is selected by its name alone, and left out by it.
    found = {
        name: nodes - left_out.get(name, frozenset())
        for name, nodes in chosen.items()
        if nodes - left_out.get(name, frozenset()) or (not everything[name] and name not in left_out)
    }
    if not found:
        raise UsageError(
            f"{selection}: no cluster and no node is left", remedy="leave an option out, or name others"
        )
    return found


def _unite(found: Iterable[Mapping[str, frozenset[str]]]) -> dict[str, frozenset[str]]:
    united: dict[str, frozenset[str]] = {}
    for one in found:
        for name, nodes in one.items():
            united[name] = united.get(name, frozenset()) | nodes
    return united


def _match(
    option: str, text: str, entries: Sequence[ClusterEntry], *, is_lenient: bool = False
) -> dict[str, frozenset[str]]:
    """Cluster -> the nodes that one entry means.

    Raises:
        UsageError: there is none.
    """
    found = dict(_find(text, entries))
    if not found and not is_lenient:
        raise _make_unknown_error(option, text, entries)
    return found


def _find(text: str, entries: Sequence[ClusterEntry]) -> Iterator[tuple[str, frozenset[str]]]:
    if text.startswith(KIND):
        wanted = text.removeprefix(KIND)
        yield from (_take_whole(entry) for entry in entries if fnmatchcase(entry.kind, wanted))
        return
    label, equals, value = text.partition("=")
    if equals:
        for entry in entries:
            nodes = [
                node.name
                for node in entry.members()
                if (own := _list_labels(entry, node).get(label)) is not None and fnmatchcase(own, value)
            ]
            if nodes:
                yield entry.name, frozenset(nodes)
        return
    cluster, slash, name = text.rpartition("/")
    # A cluster of that name is meant before a node of it.
    whole = [entry for entry in entries if not slash and fnmatchcase(entry.name, name)]
    if whole:
        yield from map(_take_whole, whole)
        return
    for entry in entries:
        if slash and not fnmatchcase(entry.name, cluster):
            continue
        nodes = [node.name for node in entry.members() if fnmatchcase(node.name, name)]
        if nodes:
            yield entry.name, frozenset(nodes)


def _take_whole(entry: ClusterEntry) -> tuple[str, frozenset[str]]:
    return entry.name, frozenset(node.name for node in entry.members())


def _list_labels(entry: ClusterEntry, node: NodeEntry) -> dict[str, str]:
    domain = {DOMAIN: node.domain} if node.domain else {}
    return {**domain, **entry.labels, **node.labels}


def _make_unknown_error(option: str, text: str, entries: Sequence[ClusterEntry]) -> UsageError:
    what = f"{option} {text}: "
    if text.startswith(KIND):
        kinds = sorted({entry.kind for entry in entries})
        return UsageError(
            f"{what}no cluster is of this kind", remedy=f"the kinds of the fleet: {', '.join(kinds)}"
        )
    if "=" in text:
        known = sorted(
            {
                f"{label}={value}"
                for entry in entries
                for node in entry.members()
                for label, value in _list_labels(entry, node).items()
            }
        )
        listed = (
            f"the labels of the fleet: {join_some(known, _NAMED)}" if known else "the fleet has no labels"
        )
        return UsageError(f"{what}no node has this label", remedy=listed)
    clusters = sorted(entry.name for entry in entries)
    nodes = sorted(node.name for entry in entries for node in entry.members())
    near = find_similar(text.rpartition("/")[2], [*clusters, *nodes], most=_NAMED)
    hint = f"similar names: {', '.join(near)}" if near else f"the clusters are: {', '.join(clusters)}"
    return UsageError(f"{what}no cluster and no node is named {quote_text(text)}", remedy=hint)
