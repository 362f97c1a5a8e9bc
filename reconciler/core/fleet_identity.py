"""Whose memory a revision's is: how a fleet is told from every other one of the same host; pure.

A fleet is known by `name` in its fleet file, else by the commits with which its history began, else by its
source. The store numbers fleets and keeps all memory by that number, so that a first name, another clone or
a moved folder changes a line of the list of fleets, and nothing of what is remembered.
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
    """By what a fleet is told from others, as one revision says it.

    Args:
        name: as the fleet file says; empty where it says none.
        renamed_from: the name that it had before, as the fleet file says.
        roots: ids of the commits with which the revision's history began, sorted; empty where the source has
            no history, or a clone lacks its beginning.
        source: where it was read, in one spelling.
        path: the folder of the fleet file within its repository; empty for the top, or without a repository.
        ref: the branch, tag or commit that was asked for; empty for none.
        others: other folders of fleets that the store knows -> the name in the fleet file that this revision
            has there, empty where it says none.
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
    """A fleet that the store has a memory of.

    Args:
        number: of its memory.
        name: as its fleet file said last; empty where it said none.
        roots: the beginnings of its history; empty where none is known.
        path: the folder of its fleet file within the repository; None where that is not known.
        ref: the branch, tag or commit that was asked for last.
        sources: where it was read, the latest last.
        is_lone: whether it was a settings file without a fleet file last; None where that is not known.
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
    """Whose memory it is.

    Args:
        number: of the memory; `NEW` for a fleet that is not known yet.
        absorbed: numbers of memories that turn out to be of the same fleet.
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
    """Whose memory a revision goes on with.

    Args:
        me: the fleet at hand.
        known: all fleets of the host.

    Raises:
        FleetRefused: the host has to say first whose memory it is.
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
    """Whether the two have a history in common; where one has none, whether they have the source."""
    if me.roots and other.roots:
        return not set(me.roots).isdisjoint(other.roots)
    return me.source in other.sources


def _is_same_file(me: FleetIdentity, other: KnownFleet) -> bool:
    """Whether a fleet of the same history was read from the file at hand, be it in another folder then."""
    if other.path is None or not (me.roots and other.roots):
        return True
    if other.path != me.path:  # moved, where this revision has no fleet file there any more
        left_behind = other.path in me.lone and (other.is_lone is False or bool(other.name))
        return other.path not in me.others or left_behind
    # Branches of one repository may hold a fleet each, once the files say their names.
    return not (me.name and other.name and me.ref and other.ref and me.ref != other.ref)


def _refuse_another_history(me: FleetIdentity, mine: KnownFleet) -> None:
    if _is_related(me, mine):
        return
    if me.roots and mine.roots:
        what = (
            f"its history begins with commit {shorten_commit(me.roots[0])}, and theirs with "
            f"{shorten_commit(mine.roots[0])}"
        )
    else:
        lacking = me.source if mine.roots else next(reversed(mine.sources), "the one known")
        what = f"{lacking} has no history by which to tell that they are the same"
    raise FleetRefused(
        f"{me.source} is not known as a source of the fleet {mine.name} of this host: {what}",
        remedy="correct `name:` in the fleet file if they are two fleets; if this source takes over, run "
        f"`reconcile state rebind {mine.name} --source {me.source}` once on this host",
    )


def _refuse_same_name_twice(me: FleetIdentity, mine: KnownFleet) -> None:
    if mine.path is None or mine.path == me.path or me.others.get(mine.path) != mine.name:
        return
    raise FleetRefused(
        f"two fleet files of {me.source} have the name {mine.name}: one in {_folder(mine.path)}, which this "
        f"host applies, and one in {_folder(me.path)}",
        remedy="give each its own `name:`",
    )


def _refuse_lost_name(me: FleetIdentity, same: Sequence[KnownFleet]) -> None:
    """A change of the name alone would leave behind all that is remembered."""
    for one in same:
        if not one.name:
            continue
        if me.name:
            raise FleetRefused(
                f"the fleet file says `name: {me.name}`, and this host knows the fleet as {one.name}",
                remedy=f"put `name: {one.name}` back, or add `renamed_from: {one.name}` beside the new name: "
                "then the fleet keeps what is remembered of it",
            )
        raise FleetRefused(
            f"the fleet file no longer says `name: {one.name}`, by which this host knows the fleet",
            remedy=f"put `name: {one.name}` back",
        )


def _refuse_second_file(me: FleetIdentity, others: Sequence[KnownFleet]) -> None:
    """Two fleets of one history can be told apart by their names alone.

    A settings file without a fleet file cannot have a name. One of them is told from fleets that have; two
    are not told apart, since each may move into the other's folder.
    """
    for one in others:
        there = one.path or ""
        theirs = one.name or me.others.get(there, "")
        if me.is_lone and there in me.lone and not theirs:
            raise FleetRefused(
                f"the repository of {me.source} has two settings files without a fleet file that this host "
                f"applies, in {_folder(there)} and in {_folder(me.path)}, and nothing tells them apart",
                remedy="write a fleet.yaml beside one of them, with a `name:` and a cluster of these nodes; "
                f"what is remembered stays with the one in {_folder(there)}",
            )
        is_told, are_told = bool(me.name) or me.is_lone, bool(theirs) or there in me.lone
        if is_told and are_told:
            continue
        lacking = f"that in {_folder(there)}" if is_told else f"this one, in {_folder(me.path)},"
        raise FleetRefused(
            f"the repository of {me.source} has two fleet files that this host applies, in "
            f"{_folder(there)} and in {_folder(me.path)}, and {lacking} has no name",
            remedy="add a `name:` of its own to each fleet file, that of the first one first; the first one "
            "keeps what is remembered",
        )


def _refuse_replaced_history(me: FleetIdentity, known: Sequence[KnownFleet]) -> None:
    """An address without a name that suddenly has another history would begin without a past."""
    if me.name or not me.roots:
        return
    for one in known:
        if not one.name and one.roots and me.source in one.sources and not _is_related(me, one):
            raise FleetRefused(
                f"the history of {me.source} is another one than before: it began with commit "
                f"{shorten_commit(one.roots[0])} and now begins with {shorten_commit(me.roots[0])}",
                remedy="add a `name:` to the fleet file if it is another fleet; if it is the same, run "
                f"`reconcile state rebind {one.label} --source {me.source}` once on this host",
            )


def _folder(path: str) -> str:
    return f"the folder {path}" if path else "its top folder"
