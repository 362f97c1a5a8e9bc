"""How a delivery stands, given what its node shows now: one judgement for before, after and a crash; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.core.observation import Absent, Observation, Present
from reconciler.core.plan import Step
from reconciler.core.step import StepStatus, StepVerdict
from reconciler.drivers.m2.arguments import DeliveryArguments, read_delivery
from reconciler.drivers.m2.schema import ExpectedSetting, LoadedSetting
from reconciler.drivers.m2.unresolved_secrets import UNKNOWN
from reconciler.secrets.patterns import is_masked


def judge(step: Step, answer: Observation[LoadedSetting]) -> StepVerdict:
    """Done where the node shows the desired setting, ready where it shows the one planned from.

    A step that gives back what a node had is done once nothing else waits for a restart either.
    Where only the files that go with a setting differ, the node's own package decides; a node that does
    not show it leaves the step unknown, so that nothing is sent and nothing is believed.
    """
    own = read_delivery(step)
    before = own.before
    if isinstance(answer, Absent):
        if before == "":
            return _ready(own, answer.base)
        return StepVerdict(StepStatus.CHANGED, "the node has no setting loaded any more")
    if not isinstance(answer, Present):
        return StepVerdict(StepStatus.UNKNOWN, answer.reason)
    loaded, after = answer.value, own.after
    waits = own.returning and loaded.asked not in {"", after}
    if loaded.shows(ExpectedSetting(after)) and not waits:
        return _arrived(own, loaded)
    if before == loaded.content.fingerprint or (waits and before == loaded.asked):
        return _ready(own, loaded.base)
    hidden = isinstance(own.setting_version, str) and is_masked(own.setting_version)
    told = "" if hidden else loaded.content.version
    version = f" (version {told})" if told else ""
    reason = (
        f"the node shows a setting that is neither the old nor the new one{version}: somebody changed it "
        "meanwhile, or a value in it changes by itself"
    )
    return StepVerdict(StepStatus.CHANGED, reason)


def _ready(own: DeliveryArguments, base: str) -> StepVerdict:
    """Ready, where the node answered at the very URL that the step sends to.

    Another server may have taken that one since, while the node answers at the next one.
    """
    if base and base != own.bases[0]:
        return StepVerdict(
            StepStatus.CHANGED, f"the node answers at {base} now, and no more where it was planned"
        )
    return StepVerdict(StepStatus.READY)


def has_files(held: Mapping[str, str] | None, wanted: Mapping[str, Any]) -> bool | None:
    """Whether a package has the wanted files with these contents; None where it was not shown.

    Other files in it do not matter: a node keeps those that earlier deliveries left. A file whose digest
    is not known here need only be there.
    """
    if not wanted:
        return True
    if held is None:
        return None
    return all(path in held and digest in (UNKNOWN, held[path]) for path, digest in wanted.items())


def _arrived(own: DeliveryArguments, loaded: LoadedSetting) -> StepVerdict:
    done = StepVerdict(StepStatus.DONE, "the node shows the desired setting")
    match has_files(loaded.held, own.resources):
        case True:
            return done
        case False:
            return StepVerdict(
                StepStatus.READY, "the node has the setting, but not all files that go with it"
            )
    if own.before != own.after:
        return done
    return StepVerdict(StepStatus.UNKNOWN, "the node does not show which files it has")
