"""Ancestry by content, for revisions that are not related by commits.

A branch that was applied and then squashed or rebased leaves a commit that has no descendants, while its
content continues in another commit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from reconciler.core.cluster_renames import translate_prior_names
from reconciler.core.revision import STAMP, strip_uncommitted
from reconciler.desired.fleet import load_fleet
from reconciler.errors import InputError, SourceError, SourceUnreachable
from reconciler.ports.driver import Driver, Facts
from reconciler.ports.source import Snapshot, Source
from reconciler.secrets.resolver import SecretResolver

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet

T = TypeVar("T")

MOST: Final = 30
"""Commits along first parents whose content is compared: each is a whole fleet to load."""

Drivers: TypeAlias = Mapping[str, Driver[Any, Any]]


@dataclass(frozen=True, slots=True)
class ContentHistory:
    """The content of a revision and of the commits before it.

    Args:
        fleet: the desired state at the revision.
        source: where it was read.
        drivers: kind -> product.
        resolver: gives the values of secrets, which are part of the content.
        renames: cluster -> its former name.
    """

    fleet: Fleet
    source: Source
    drivers: Drivers
    resolver: SecretResolver | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    _known: dict[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    async def find_continued_clusters(
        self, applied: str, before: AbstractSet[str], clusters: Collection[str]
    ) -> frozenset[str]:
        """The clusters whose content at a commit is that of the revision, or of a commit before it.

        Args:
            applied: the id of a commit that the revision does not descend from.
            before: ids of it and of all its ancestors.
            clusters: the clusters to compare.

        Raises:
            SourceUnreachable: the source does not answer.
        """
        own = await self._read(strip_uncommitted(applied), 1, self._contents)
        wanted = own[0] if own else {}
        left = {name for name in clusters if name in wanted}
        found = {name for name in left if self._compute_contents(self.fleet).get(name) == wanted[name]}
        try:
            async with self.source.open_first_parents(
                strip_uncommitted(self.fleet.revision.id), MOST
            ) as line:
                for snapshot in line:
                    if found == left:
                        break
                    shown = self._contents(snapshot)
                    found |= {name for name in left if shown.get(name) == wanted[name]}
                    # A common ancestor ends the search: equal content before it is what `applied` may have
                    # changed and changed back.
                    if snapshot.revision.id in before:
                        break
        except SourceUnreachable:
            raise
        except SourceError:
            return frozenset()
        return frozenset(found)

    async def find_commit(self, stamp: str) -> str:
        """The id of the commit with this stamp; empty for uncommitted changes, or if the source has none.

        Raises:
            SourceUnreachable: the source does not answer.
        """
        if strip_uncommitted(stamp) != stamp or not STAMP.fullmatch(stamp):
            return ""
        return next(iter(await self._ids(stamp, 1)), "")

    async def find_base_commit(self, left: str) -> str:
        """The id of the commit on which the revision is based: where it left its base, else its first parent.

        Args:
            left: id of the commit where it left its base; empty if it is not known.

        Raises:
            SourceUnreachable: the source does not answer.
        """
        own = self.fleet.revision.id
        number = 1 if strip_uncommitted(own) == own else 0  # uncommitted changes are based on their commit
        return left or next(iter((await self._ids(strip_uncommitted(own), 2))[number:]), "")

    async def is_continued(self, commit: str, cluster: str) -> bool:
        """Whether a cluster's content at a commit is that of the revision, or of a commit before it.

        Raises:
            SourceUnreachable: the source does not answer.
        """
        before = await self.source.ancestors(commit)
        return before is not None and cluster in await self.find_continued_clusters(commit, before, [cluster])

    async def list_delivered_facts(self, commit: str, cluster: str) -> Facts | None:
        """What would be remembered of a cluster's nodes after a commit; None if that is not known.

        Raises:
            SourceUnreachable: the source does not answer.
        """
        names = {cluster, self.renames.get(cluster)}
        with suppress(InputError):
            fleets = await self._read(commit, 1, self._load)
            for cluster_input in (one for fleet in fleets for one in fleet.cluster_inputs):
                if cluster_input.entry.name in names:
                    driver = self.drivers[cluster_input.entry.kind]
                    return driver.list_delivered_facts(driver.desire(cluster_input))
        return None

    async def list_differing_clusters(self, one: str, other: str) -> frozenset[str]:
        """The clusters of the revision that differ between two commits; empty if one commit is not valid.

        Raises:
            SourceUnreachable: the source does not answer.
        """
        found = [
            contents for commit in (one, other) for contents in await self._read(commit, 1, self._contents)
        ]
        if len(found) < 2 or not all(found):  # noqa: PLR2004  (two commits)
            return frozenset()
        names = (cluster_input.entry.name for cluster_input in self.fleet.cluster_inputs)
        return frozenset(name for name in names if found[0].get(name) != found[1].get(name))

    async def _ids(self, commit: str, most: int) -> list[str]:
        return await self._read(commit, most, lambda snapshot: snapshot.revision.id)

    async def _read(self, commit: str, most: int, read: Callable[[Snapshot], T]) -> list[T]:
        """The result of `read` for a commit and its first-parent ancestors; empty if it cannot be read."""
        try:
            async with self.source.open_first_parents(commit, most) as line:
                return [read(snapshot) for snapshot in line]
        # Unknown content only means that nothing continues it. But a source that does not answer may answer
        # in the next pass, so its error ends this one.
        except SourceUnreachable:
            raise
        except SourceError:
            return []

    def _load(self, snapshot: Snapshot) -> Fleet:
        return load_fleet(snapshot, self.drivers, self.resolver)

    def _contents(self, snapshot: Snapshot) -> Mapping[str, Any]:
        """Cluster -> its content at a commit; empty if its files are not valid."""
        id_ = snapshot.revision.id
        if id_ not in self._known:
            self._known[id_] = {}
            with suppress(InputError):
                self._known[id_] = self._compute_contents(self._load(snapshot))
        return self._known[id_]

    def _compute_contents(self, fleet: Fleet) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        for cluster_input in fleet.cluster_inputs:
            driver = self.drivers[cluster_input.entry.kind]
            with suppress(InputError):
                if contents := driver.contents(driver.desire(cluster_input)):
                    found[cluster_input.entry.name] = (cluster_input.entry.kind, dict(contents))
        return translate_prior_names(found, self.renames)
