"""What an M2 plan must never do: shut out those who could repair it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.core.guard import Case, Guard, Violation
from reconciler.core.observation import Present
from reconciler.core.secret import reveal
from reconciler.drivers.m2.access import access
from reconciler.drivers.m2.choices import Choices, Match
from reconciler.drivers.m2.fault import mapping
from reconciler.drivers.m2.impact import NEEDED, able
from reconciler.drivers.m2.schema import Content, Desired, Target

_SAID: Final = ("api", "roles")
_RULES: Final = tuple(
    Choices(match=match, open_without_list=open_) for match in Match for open_ in (True, False)
)
"""Every way in which a node may read its allowList: the pages do not say which."""


def locking_out_everybody(case: Case) -> Iterator[Violation]:
    """After the change, some address still has a role that may deliver a setting."""
    for target in _changed(case):
        if not able(_clear(target.content)):
            yield Violation(
                "lock-out-all",
                f"{case.plan.cluster}/{target.node}",
                f"{target.node}: no entry of the new allowList has a role with {NEEDED}, "
                "so nobody could deliver another setting",
                f"give some address a role with {NEEDED}",
            )


def locking_out_this_host(case: Case) -> Iterator[Violation]:
    """After the change, this host may still deliver a setting, however the node reads its allowList.

    A way of reading it under which this host could not have read the node just now is ruled out. Where
    none is left, the node sees this host at an address that is not known here, because it is translated
    on the way: then every address that may deliver a setting now has to keep that.
    """
    for target in _changed(case):
        answer = case.observed.nodes.get(target.node)
        if not isinstance(answer, Present):
            continue
        before, after, caller = _clear(answer.value.content), _clear(target.content), answer.value.caller
        rules = [rule for rule in _RULES if caller and _may(before, caller, rule)]
        why = _surely(after, caller, rules) if rules else _translated(before, after)
        if why:
            yield Violation(
                "lock-out",
                f"{case.plan.cluster}/{target.node}",
                f"{target.node}: {why}",
                "keep an entry for this host in the allowList, before any other that holds its address, "
                f"with a role that has {NEEDED}",
            )


def _surely(after: Any, caller: str, rules: list[Choices]) -> str:
    if all(_may(after, caller, rule) for rule in rules):
        return ""
    return f"{caller}, this host's address, would no longer be sure of {NEEDED}"


def _translated(before: Any, after: Any) -> str:
    kept = able(after)
    gone = [span for span in able(before) if not any(span.within(other) for other in kept)]
    if not gone:
        return ""
    shown = ", ".join(map(str, gone[:3]))
    return f"it is not known which address it sees this host at, and {shown} would lose {NEEDED}"


GUARDS: tuple[Guard, ...] = (locking_out_everybody, locking_out_this_host)
"""All of them; the order does not matter."""


def _changed(case: Case) -> Iterator[Target]:
    desired: Desired = case.desired
    nodes = {step.node for step in case.plan.steps}
    yield from (target for target in desired.targets if target.node in nodes)


def _clear(content: Content) -> Any:
    """What a setting says of access, with what was given as a secret in clear."""
    management = mapping(content.canonical, "env", "management")
    return {"env": {"management": reveal({key: management[key] for key in _SAID if key in management})}}


def _may(document: Any, caller: str, rule: Choices) -> bool:
    return NEEDED in access(document if isinstance(document, Mapping) else None, caller, rule).permissions
