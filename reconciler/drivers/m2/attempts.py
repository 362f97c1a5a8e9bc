"""Fingerprints by which attempts at the same delivery, and the same result, are recognised; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reconciler.core import attempts
from reconciler.core.canonical import fingerprint as plain_fingerprint
from reconciler.core.observation import Observed, Present
from reconciler.core.plan import Step
from reconciler.drivers.m2.arguments import is_restart, read_delivery, read_restart
from reconciler.drivers.m2.schema import LoadedSetting, M2Desired

_VERSION: Final = "/meta/version"


def fingerprint_contents(desired: M2Desired, *, with_version: bool = True) -> Mapping[str, str]:
    """Node -> fingerprint of its setting and files; without `meta.version` where that has a stamp.

    Args:
        desired: of the cluster.
        with_version: whether a version that is no stamp counts.
    """
    is_stamped = desired.entry.is_stamped or not with_version
    found: dict[int, str] = {}
    for target in desired.targets:
        content = target.content.common or target.content  # a new token is no new content
        if id(content) not in found:
            own = content.unstamped if is_stamped else content.fingerprint
            found[id(content)] = plain_fingerprint([own, desired.files])
    return {target.node: found[id(target.content.common or target.content)] for target in desired.targets}


def fingerprint_aim(step: Step, contents: Mapping[str, str]) -> str:
    """Fingerprint of the action, its content and its URL: another address is another machine."""
    if is_restart(step):
        restart = read_restart(step)
        aim = contents.get(step.node, restart.after)
        return plain_fingerprint([step.action, aim, next(iter(restart.bases), ""), restart.command])
    own = read_delivery(step)
    return plain_fingerprint([step.action, contents.get(step.node, own.after), next(iter(own.bases), "")])


def fingerprint_readings(step: Step, observed: Observed[LoadedSetting]) -> Mapping[str, str]:
    """Place -> fingerprint of what the node shows there, for places that differ, or of its files."""
    if is_restart(step):
        return {"waiting": plain_fingerprint(list(read_restart(step).fields))[:16]}
    # Without the version: a stamp differs with every revision, and would start the count of attempts again.
    found = attempts.fingerprint_places(step.changes, but=_VERSION)
    answer = observed.nodes.get(step.node)
    if not found and isinstance(answer, Present):
        found = {"files": plain_fingerprint(dict(answer.value.held or {}))[:16]}
    return found
