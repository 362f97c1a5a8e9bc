"""Whether a cluster may be initialised: only on every node's positive answer, or on an explicit word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reconciler.core.observation import Absent, Present, Stale
from reconciler.core.plan import Finding
from reconciler.core.problem import Severity
from reconciler.drivers.sora.cluster import quorum
from reconciler.drivers.sora.picture import Picture, silence
from reconciler.drivers.sora.schema import SoraCluster, SoraDesired
from reconciler.drivers.sora.steps import word_of


@dataclass(frozen=True, slots=True)
class Word:
    """An explicit word of the fleet file on which a cluster may be initialised.

    Args:
        name: `initialise` or `collapsed`.
        reason: what the operator wrote.
        until: the last day on which it counts, in ISO form; empty for no end.
    """

    name: str
    reason: str
    until: str = ""

    def plain(self) -> dict[str, str]:
        """As plain JSON, for a step's arguments."""
        return {"name": self.name, "reason": self.reason, "until": self.until}


def founding(desired: SoraDesired, picture: Picture) -> tuple[Mapping[str, str] | None, tuple[Finding, ...]]:
    """The word to initialise on (empty where the answers are enough), or None and why not.

    Args:
        desired: names the regular nodes, all of which must have answered.
        picture: one without speakers.
    """
    entry = desired.entry
    silent = [name for name in entry.regular if not isinstance(picture.observed.nodes.get(name), _ANSWERS)]
    if silent:
        return None, (*_silent(entry, picture, silent), *_lost(entry, picture))
    remembered = _remembered(picture)
    if not remembered and all(isinstance(picture.observed.nodes[n], Absent) for n in entry.regular):
        return {}, ()
    blank = all(picture.blank(name) for name in entry.regular)
    if blank and not remembered and entry.initialise and not _known(desired, "initialised"):
        return Word("initialise", "the fleet file says `initialise: true`").plain(), ()
    if entry.collapsed is not None:
        problem = _spent(desired, picture)
        if problem is None:
            until = entry.collapsed.until.isoformat()
            return Word("collapsed", entry.collapsed.reason, until).plain(), ()
        return None, (problem, *_lost(entry, picture))
    return None, tuple(_lost(entry, picture)) or tuple(_unclear(entry, picture))


_ANSWERS = (Present, Absent, Stale)


def _remembered(picture: Picture) -> bool:
    """Whether any node remembers being in a cluster with another."""
    answers = picture.observed.nodes.values()
    return any(isinstance(answer, Present | Stale) and len(answer.value.rows) > 1 for answer in answers)


def _known(desired: SoraDesired, fact: str) -> set[str]:
    """What the store remembers under one key, of any node."""
    return {facts[fact] for facts in desired.recalled.values() if fact in facts}


def _formed(entry: SoraCluster, picture: Picture) -> bool:
    """Whether every regular node lists exactly the desired cluster, so that it only has to come together."""
    answers = [picture.observed.nodes.get(name) for name in entry.regular]
    views = [answer.value for answer in answers if isinstance(answer, Present | Stale)]
    listed = [tuple(row.node_name for row in view.rows if not row.temporary) for view in views]
    return len(views) == len(answers) and all(names == entry.regular for names in listed)


def _spent(desired: SoraDesired, picture: Picture) -> Finding | None:
    entry, collapsed = desired.entry, desired.entry.collapsed
    assert collapsed is not None
    day = picture.day
    if day is not None and day > collapsed.until:
        return Finding(
            Severity.ERROR,
            "collapsed-expired",
            entry.name,
            f"the word that {entry.name} has collapsed counted until {collapsed.until}",
            "if it still holds, write a new date into the fleet file",
        )
    if word_of(entry) in _known(desired, "collapsed") or _formed(entry, picture):
        return Finding(
            Severity.ERROR,
            "collapsed-used",
            entry.name,
            f"{entry.name} was initialised anew already: every node lists the new cluster, or an earlier run "
            "did it on this word; a word counts once",
            "start the stopped nodes or mend the network; if the cluster has collapsed again, write a new "
            "reason or date into the fleet file",
        )
    return None


def _silent(entry: SoraCluster, picture: Picture, silent: list[str]) -> Iterator[Finding]:
    for name in silent:
        yield Finding(
            Severity.ERROR,
            "node-unreachable",
            f"{entry.name}/{name}",
            f"{name}: {silence(picture.observed.nodes.get(name))}; a cluster is initialised only when "
            "every regular node has answered",
            "start the node, or correct `api` in the fleet file",
        )


def _lost(entry: SoraCluster, picture: Picture) -> Iterator[Finding]:
    """The best that any node still sees of a cluster without majority."""
    best: tuple[int, int, str] | None = None
    for name, answer in sorted(picture.observed.nodes.items()):
        if isinstance(answer, Stale) and len(answer.value.rows) > 1:
            regular = [row for row in answer.value.rows if not row.temporary]
            seen = (sum(row.connected for row in regular), len(regular), name)
            best = max(best, seen) if best is not None else seen
    if best is not None:
        up, total, name = best
        yield Finding(
            Severity.ERROR,
            "majority-lost",
            entry.name,
            f"no node of {entry.name} sees a majority: {name} sees {up} of {total} regular nodes, "
            f"{quorum(total)} are needed; nothing can be changed",
            "start the stopped nodes or mend the network; only if they are gone for good, write "
            "`collapsed` with a reason and a date into the fleet file",
        )


def _unclear(entry: SoraCluster, picture: Picture) -> Iterator[Finding]:
    for name in entry.regular:
        answer = picture.observed.nodes[name]
        if isinstance(answer, Absent):
            continue
        words = silence(answer) if isinstance(answer, Stale) else "it lists nobody but itself"
        yield Finding(
            Severity.ERROR,
            "initialised-unclear",
            f"{entry.name}/{name}",
            f"{name}: {words}; that does not tell whether it was ever in a cluster",
            "if these nodes were never in a cluster, write `initialise: true` into the fleet file",
        )
