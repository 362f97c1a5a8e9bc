"""How and when a cluster may be changed: what its entry says, or else the fleet file's top level."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.change_windows import Freeze, Suspend, Window
from reconciler.core.entries import ClusterEntry
from reconciler.core.rollout import Rollout


@dataclass(frozen=True, slots=True)
class ChangeRules:
    """What the fleet file says of the way in which a cluster is changed.

    Args:
        rollout: its waves; none where a plan is applied in one go.
        windows: when changes may be made; none means at any time.
        freezes: when nothing is changed, whatever the windows say.
        suspend: nothing is changed at all.
        require_signed: how a revision has to be signed, `gpg` or `ssh`; empty where it need not be.
    """

    rollout: Rollout | None = None
    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    suspend: Suspend | None = None
    require_signed: str = ""

    def of(self, entry: ClusterEntry) -> ChangeRules:
        """The conduct of one cluster, where this is the fleet's own.

        A cluster's rollout is filled up, key by key, from the fleet's; its windows take the place of
        the fleet's; freezes and suspensions of both hold.
        """
        return ChangeRules(
            rollout=_filled(entry.rollout, self.rollout),
            windows=self.windows if entry.windows is None else entry.windows,
            freezes=(*self.freezes, *entry.freeze),
            suspend=self.suspend or entry.suspend,
            require_signed=self.require_signed,
        )


def _filled(own: Rollout | None, default: Rollout | None) -> Rollout | None:
    if own is None or default is None:
        return own or default
    said = {name: getattr(own, name) for name in own.model_fields_set}
    return default.model_copy(update=said)
