"""Fleet identity: to which fleet of a host a revision belongs; pure.

A fleet is identified by `name` in its fleet file, else by the first commits of its history, else by its
source. The store numbers fleets and keeps all memory by that number. So a first name, another clone or a
moved folder changes one line of the list of fleets, and nothing that is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from reconciler.core.revision import shorten_commit
from reconciler.errors import FleetRefused

HOST: Final = 0
"""The number under which the store keeps what holds for every fleet of the host."""

NEW: Final = -1
"""The number of a fleet that the store does not know yet: nothing is remembered of it."""

FILE_SCHEME: Final = "file://"


@dataclass(frozen=True, slots=True)
class FleetIdentity:
    """The identity of a fleet at one revision.

    Args:
        name: in the fleet file; empty for none.
        renamed_from: its former name, in the fleet file.
        roots: ids of the first commits of the revision's history, sorted; empty if the source has no history,
            or a clone lacks its beginning.
        source: where it was read, normalised.
        path: the folder of the fleet file within its repository; empty for the top, or without a repository.
        ref: the branch, tag or commit that was named; empty for none.
        others: other folders of fleets that the store knows -> the name in the fleet file that this revision
            has there, empty if it has none.
        is_lone: it is a settings file without a fleet file, which cannot have a name.
        lone: those of `others` that are such a file.
    """

    source: str
    name: str = ""
    renamed_from: str = ""
    roots: tuple[str, ...] = ()
    path: str = ""
    ref: str = ""
    others: Mapping[str, str] = field(default_factory=dict)
    is_lone: bool = False
    lone: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """The fleet as people know it."""
        return self.name or self.source


@dataclass(frozen=True, slots=True)
class KnownFleet:
    """A fleet that the store knows.

    Args:
        number: of its memory.
        name: in its fleet file at the last reading; empty for none.
        roots: the beginnings of its history; empty if none is known.
        path: the folder of its fleet file within the repository; None if it is not known.
        ref: the branch, tag or commit that was named last.
        sources: where it was read, the latest last.
        is_lone: whether it was a settings file without a fleet file last; None if it is not known.
    """

    number: int
    name: str = ""
    roots: tuple[str, ...] = ()
    path: str | None = None
    ref: str = ""
    sources: tuple[str, ...] = ()
    is_lone: bool | None = None

    @property
    def label(self) -> str:
        """The fleet as people know it."""
        return self.name or next(reversed(self.sources), f"fleet {self.number}")


@dataclass(frozen=True, slots=True)
class ResolvedFleet:
    """The fleet to which a revision belongs.

    Args:
        number: of the fleet; `NEW` for one that is not known yet.
        absorbed: numbers of fleets that turn out to be the same fleet.
    """

    number: int
    absorbed: tuple[int, ...] = ()


def normalise_source(source: str) -> str:
    """A source in the one spelling by which it is compared: a folder, its URL and its `.git` are one."""
    if source.startswith(FILE_SCHEME):
        source = "/" + source.removeprefix(FILE_SCHEME).lstrip("/")
    if "://" not in source:
        source = re.sub(r"/{2,}", "/", source)
    return re.sub(r"/\.git(?=/|$)", "", source)


def resolve_fleet(me: FleetIdentity, known: Sequence[KnownFleet]) -> ResolvedFleet:
    """The fleet, of all `known` on the host, to which the revision of fleet `me` belongs.

    Raises:
        FleetRefused: it is not certain; somebody has to decide it on the host.
    """
    named = {one.name: one for one in known if one.name}
    mine = named.get(me.name) or (named.get(me.renamed_from) if me.name else None)
    if mine is not None:
        _refuse_another_history(me, mine)
        _refuse_same_name_twice(me, mine)
        return ResolvedFleet(mine.number)
    related = [one for one in known if _is_related(me, one)]
    same = [one for one in related if _is_same_file(me, one)]
    _refuse_lost_name(me, same)
    _refuse_second_file(me, [one for one in related if one not in same])
    _refuse_replaced_history(me, known)
    if not same:
        return ResolvedFleet(NEW)
    first = next((one for one in same if me.source in one.sources), same[0])
    return ResolvedFleet(first.number, tuple(one.number for one in same if one is not first))


def _is_related(me: FleetIdentity, other: KnownFleet) -> bool:
    """Whether the two have a history in common; if one has none, whether they have the source."""
    if me.roots and other.roots:
        return not set(me.roots).isdisjoint(other.roots)
    return me.source in other.sources


def _is_same_file(me: FleetIdentity, other: KnownFleet) -> bool:
    """Whether a fleet of the same history was read from this file, perhaps in another folder then."""
    if other.path is None or not (me.roots and other.roots):
        return True
    if other.path != me.path:  # moved, where this revision has no fleet file there any more
        left_behind = other.path in me.lone and (other.is_lone is False or bool(other.name))
        return other.path not in me.others or left_behind
    # Branches of one repository may hold a fleet each, if the fleet files have names.
    return not (me.name and other.name and me.ref and other.ref and me.ref != other.ref)


def _refuse_another_history(me: FleetIdentity, mine: KnownFleet) -> None:
    if _is_related(me, mine):
        return
    # Anybody can copy a name: without a common history, another repository could take over the nodes.
    origin = next(reversed(mine.sources), "another source")
    if me.roots and mine.roots:
        what = (
            f"its history begins with commit {shorten_commit(me.roots[0])}, that of the fleet with "
            f"{shorten_commit(mine.roots[0])}"
        )
    else:
        lacking = me.source if mine.roots else origin
        what = f"{lacking} has no git history that could show that the fleet is the same"
    raise FleetRefused(
        f"this host applies fleet {mine.name} from {origin}, not from {me.source}: {what}",
        remedy="correct `name:` in the fleet file if they are two fleets; if this source replaces "
        f"the other, run `reconcile state rebind {mine.name} --source {me.source}` once on this host",
    )


def _refuse_same_name_twice(me: FleetIdentity, mine: KnownFleet) -> None:
    if mine.path is None or mine.path == me.path or me.others.get(mine.path) != mine.name:
        return
    raise FleetRefused(
        f"two fleet files of {me.source} have the name {mine.name}: one in {_folder(mine.path)}, which this "
        f"host applies, and one in {_folder(me.path)}",
        remedy="give each fleet file its own `name:`",
    )


def _refuse_lost_name(me: FleetIdentity, same: Sequence[KnownFleet]) -> None:
    # A changed name would look like a new fleet, without rejections, budgets and history.
    for one in same:
        if not one.name:
            continue
        if me.name:
            raise FleetRefused(
                f"the fleet file has `name: {me.name}`, but this host knows the fleet as {one.name}",
                remedy=f"restore `name: {one.name}`, or add `renamed_from: {one.name}` next to the new name: "
                "then the fleet keeps its history",
            )
        raise FleetRefused(
            f"the fleet file no longer has `name: {one.name}`, by which this host knows the fleet",
            remedy=f"restore `name: {one.name}`",
        )


def _refuse_second_file(me: FleetIdentity, others: Sequence[KnownFleet]) -> None:
    # Only their names distinguish two fleets of one history. A settings file without a fleet file cannot have
    # a name: one such file differs from all named fleets, but two look alike once one is moved.
    for one in others:
        there = one.path or ""
        theirs = one.name or me.others.get(there, "")
        if me.is_lone and there in me.lone and not theirs:
            raise FleetRefused(
                f"the repository of {me.source} has two settings files without a fleet file that this host "
                f"applies, in {_folder(there)} and in {_folder(me.path)}, and nothing distinguishes them",
                remedy="write a fleet.yaml beside one of them, with a `name:` and a cluster of these nodes; "
                f"the one in {_folder(there)} keeps the history",
            )
        is_distinct = bool(me.name) or me.is_lone
        if is_distinct and (theirs or there in me.lone):
            continue
        lacking = f"that in {_folder(there)}" if is_distinct else f"this one, in {_folder(me.path)},"
        raise FleetRefused(
            f"the repository of {me.source} has two fleet files that this host applies, in "
            f"{_folder(there)} and in {_folder(me.path)}, and {lacking} has no name",
            remedy="add a different `name:` to each fleet file, first to the one that was applied first: it "
            "keeps the history",
        )


def _refuse_replaced_history(me: FleetIdentity, known: Sequence[KnownFleet]) -> None:
    # Without a name, another history at the same address would look like a new fleet, without any memory.
    if me.name or not me.roots:
        return
    for one in known:
        if not one.name and one.roots and me.source in one.sources and not _is_related(me, one):
            raise FleetRefused(
                f"the history of {me.source} was replaced: it began with commit "
                f"{shorten_commit(one.roots[0])} and now begins with {shorten_commit(me.roots[0])}",
                remedy="add a `name:` to the fleet file if it is another fleet; if it is the same fleet, run "
                f"`reconcile state rebind {one.label} --source {me.source}` once on this host",
            )


def _folder(path: str) -> str:
    return f"the folder {path}" if path else "its top folder"
