"""How far a rollout has come, so that a later run goes on where an earlier one was stopped: plain data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True, slots=True)
class RolloutProgress:
    """A rollout that has begun and not ended.

    Args:
        content: fingerprint of all that the cluster is to get, without the stamp of the revision: another
            revision with the same content is the same rollout.
        number: how many waves have begun.
        total: how many nodes the rollout set out to change; shares are of these.
        wave: ids of the steps of the wave that has not passed its gates yet; empty between two waves.
        passed: nodes of the waves that have.
        runs: the runs that sent something to the open wave, the oldest first.
        performed: when all of the open wave had its effect, as a stamp; empty before that.
    """

    content: str
    number: int
    total: int
    wave: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    performed: str = ""

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes of the open wave; a step's id is `cluster/node/action`."""
        return frozenset(name.split("/")[1] for name in self.wave if name.count("/") > 1)

    def plain(self) -> str:
        """The fact's text."""
        return json.dumps(asdict(self), sort_keys=True)


def rename_progress(progress: RolloutProgress, former: str, name: str) -> RolloutProgress:
    """The same progress of a cluster that has another name now."""
    start = f"{former}/"
    wave = tuple(
        f"{name}/{id_.removeprefix(start)}" if id_.startswith(start) else id_ for id_ in progress.wave
    )
    return replace(progress, wave=wave)


def load_progress(text: str) -> RolloutProgress | None:
    """The progress that a fact tells of; none where another version of this program wrote it."""
    try:
        value = json.loads(text)
        lists = {key: tuple(map(str, value[key])) for key in ("wave", "passed", "runs")}
        return RolloutProgress(**{**value, **lists})
    except (ValueError, TypeError, KeyError):
        return None
