"""Whether a further delivery would be the same again, and what a node shows in place of it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reconciler.core import attempts
from reconciler.core.canonical import fingerprint as plain_fingerprint
from reconciler.core.observation import Observed, Present
from reconciler.core.plan import Step
from reconciler.drivers.m2.arguments import read_delivery
from reconciler.drivers.m2.schema import LoadedSetting, M2Desired

_VERSION: Final = "/meta/version"


def fingerprint_contents(desired: M2Desired) -> Mapping[str, str]:
    """Node -> fingerprint of its setting and files; without `meta.version` where the program stamps it."""
    is_stamped = desired.entry.is_stamped
    known: dict[int, str] = {}
    for target in desired.targets:
        content = target.content
        if id(content) not in known:
            print_ = content.unstamped if is_stamped else content.fingerprint
            known[id(content)] = plain_fingerprint([print_, desired.files])
    return {target.node: known[id(target.content)] for target in desired.targets}


def fingerprint_aim(step: Step, contents: Mapping[str, str]) -> str:
    """Fingerprint of what a delivery is to bring about, and where: another address is another machine."""
    own = read_delivery(step)
    return plain_fingerprint([step.action, contents.get(step.node, own.after), own.bases[0]])


def fingerprint_readings(step: Step, observed: Observed[LoadedSetting]) -> Mapping[str, str]:
    """What the node shows at the places that differ, or of the files where they alone do.

    The version never counts: a stamp differs with every revision.
    """
    found = attempts.fingerprint_places(step.changes, but=_VERSION)
    answer = observed.nodes.get(step.node)
    if not found and isinstance(answer, Present):
        found = {"files": plain_fingerprint(dict(answer.value.held or {}))[:16]}
    return found
