"""What earlier revisions contain, as far as git knows: clusters of earlier fleet files; pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class PriorCluster:
    """One cluster as the fleet file of an earlier revision named it.

    Args:
        nodes: node name -> its entry as plain data, not validated: the file may be older than the schema.
        revision: short id of the earlier revision.
        is_applied: whether a run applied this revision last, by the store.
        is_older: whether it is older than the base revision: its nodes are queried, but need not answer.
    """

    nodes: Mapping[str, Mapping[str, Any]]
    revision: str
    is_applied: bool = False
    is_older: bool = False


@dataclass(frozen=True, slots=True)
class PriorRevisions:
    """What earlier revisions contain of one cluster.

    Args:
        clusters: the cluster in each earlier revision that was read and that names it.
        unread: why an earlier revision exists and could not be read; empty if none is missing.
        replaced: if the base revision does not name the cluster, those of the same product that it names and
            this revision does not: the cluster may be one of them under a new name.
        references: places in settings, by keys without indices, that referred to a secret.
    """

    clusters: tuple[PriorCluster, ...] = ()
    unread: str = ""
    replaced: tuple[str, ...] = ()
    references: frozenset[tuple[str, ...]] = frozenset()


@dataclass(frozen=True, slots=True)
class PriorFile:
    """A file as a commit has it."""

    commit: str
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class PriorFiles:
    """What a source has of earlier revisions.

    Args:
        before: the fleet file of the base revision and of older ones, along first parents, nearest first.
        applied: commit -> its fleet file, of the commits that were asked for and are there.
        unread: why earlier commits could not be read; empty if all were read.
        others: JSON and YAML files that differ between this revision and the base or an applied one:
            settings, overlays and fleet files.
        tip: full id of the commit that was named as base; empty if none was.
        bases: fleet files of further commits where the revision left the base, beside the first of `before`:
            merges both ways leave several.
    """

    before: tuple[PriorFile, ...] = ()
    applied: Mapping[str, PriorFile] = field(default_factory=dict)
    unread: str = ""
    others: tuple[PriorFile, ...] = ()
    tip: str = ""
    bases: tuple[PriorFile, ...] = ()


@dataclass(frozen=True, slots=True)
class MergeBase:
    """What a revision is to be merged into, compared with it.

    Args:
        ref: the branch, tag or commit, as it was named.
        clusters: cluster -> names of its nodes, at the commits where the revision left the base.
        tip: short id of the base's newest commit.
        lacking: short ids of the commits that the base has and the revision lacks.
        changed: clusters whose content these commits change.
        left: full id of the commit where the revision left the base; empty if it cannot be read.
        unread: why the two cannot be compared completely; empty if they are.
    """

    ref: str
    clusters: Mapping[str, frozenset[str]] = field(default_factory=dict)
    tip: str = ""
    lacking: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    left: str = ""
    unread: str = ""
