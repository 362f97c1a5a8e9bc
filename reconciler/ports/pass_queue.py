"""The passes that several hosts share: which clusters are due, who runs them, what the last pass found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SharedCluster:
    """What all hosts know of a cluster.

    Args:
        due: when its next pass is due, in seconds since 1970, by the clock of the database.
        host: that runs, or has run, the last pass; empty before the first one.
        doing: what that host does; `idle` if it has ended.
        status: result of the last pass, as the server wrote it; empty before the first one.
        input: digest of what the target has for the cluster, by `key_input`; empty if it is not known.
        is_outdated: whether no pass has used that yet.
    """

    cluster: str
    due: float
    host: str
    doing: str
    status: str
    input: str = ""
    is_outdated: bool = False


@dataclass(frozen=True, slots=True)
class SharedPasses:
    """What all hosts know of the clusters of one queue.

    Args:
        target: id of the newest revision that any of them has read; empty before the first.
        clusters: those that have changed.
        at: moment of reading, for the next one.
    """

    target: str
    clusters: Sequence[SharedCluster]
    at: float


@dataclass(frozen=True, slots=True)
class BegunPass:
    """A pass that this host has begun.

    Args:
        number: higher with each pass of the cluster: a later one takes over from one that was given up.
        requests: how often a pass had been requested when it began.
        cause: trigger.
        target: id of the newest revision that any host has read.
        shared: what is known of the cluster.
    """

    cluster: str
    number: int
    requests: int
    cause: str
    target: str
    shared: SharedCluster


@dataclass(frozen=True, slots=True)
class NextPass:
    """When the next pass of a cluster is due.

    Args:
        wait: seconds from now on.
        cause: trigger of the pass if nothing else requests one before.
    """

    wait: float
    cause: str


class PassQueue(Protocol):
    """The passes over the clusters of one fleet and selection, shared by all hosts that watch it."""

    @property
    def name(self) -> str:
        """Of the queue; hosts share the passes of queues with equal names."""

    @property
    def lease(self) -> float:
        """Seconds after which another host goes on with the clusters of one that was killed."""

    def key_input(self, digest: str) -> str:
        """The digest of a cluster's input as the hosts share it: with a key, since secrets count in it."""

    async def publish(
        self,
        revision: str,
        inputs: Mapping[str, str],
        trigger: str,
        *,
        instead_of: str,
        due: Collection[str] = (),
    ) -> bool:
        """Make a revision the target of all hosts, and passes due; gives whether it is the target now.

        A pass is due over each cluster that the revision changes.

        Args:
            revision: id.
            inputs: all its clusters, each with the digest of its input; other clusters are forgotten.
            trigger: of the passes.
            instead_of: id of the target that was read before; nothing is done if it is another one by now.
            due: clusters over which a pass is due although the revision does not change them.

        Raises:
            StateError: the store cannot be used.
        """

    async def request(self, clusters: Collection[str], trigger: str) -> None:
        """Make a pass over these clusters due now; if one is running, another one after it.

        Raises:
            StateError: the store cannot be used.
        """

    async def read(self, since: float = 0.0) -> SharedPasses:
        """What all hosts know, as far as it changed since a moment.

        Raises:
            StateError: the store cannot be used.
        """

    async def begin(self, cluster: str) -> BegunPass | None:
        """Begin a pass that is due; None if none is.

        Raises:
            StateError: the store cannot be used.
        """

    async def note(self, doing: Mapping[str, tuple[int, str]]) -> None:
        """Tell the other hosts what this one does.

        Args:
            doing: cluster -> number of its pass, and what the pass does.

        Raises:
            StateError: the store cannot be used.
        """

    async def end(self, begun: BegunPass, status: str, following: NextPass, digest: str = "") -> None:
        """Record the end of a pass; nothing is recorded if a later one has begun.

        Args:
            begun: the pass.
            status: its result as text; empty to keep the former one.
            following: when the next one is due, if none was requested meanwhile.
            digest: of the input that it used; empty if it used none.

        Raises:
            StateError: the store cannot be used.
        """

    async def serve(
        self, run: Callable[[str], Awaitable[None]], passes: int, on_ready: Callable[[], None]
    ) -> None:
        """Run passes until this is cancelled; the running ones are then waited for.

        Args:
            run: runs a pass over a cluster if one is due; must not raise.
            on_ready: called once this host takes passes.
            passes: largest number at the same time.

        Raises:
            StateError: the store cannot be used, or this host may take no pass.
        """

    def close(self) -> None:
        """Close its connections; the store does this when it is closed."""
