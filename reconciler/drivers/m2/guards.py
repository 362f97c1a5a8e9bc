"""What an M2 plan must never do: shut out those who could repair it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.core.guard import Case, Guard, Violation
from reconciler.core.observation import Present
from reconciler.drivers.m2.access import FACTORY_ROLES, access, granted_by
from reconciler.drivers.m2.choices import Choices, Match
from reconciler.drivers.m2.fault import at, items, mapping
from reconciler.drivers.m2.schema import Desired, Loaded, Target

NEEDED: Final = "enableSetting"
"""The permission without which nobody can deliver another setting."""

_RULES: Final = tuple(
    Choices(match=match, open_without_list=open_) for match in Match for open_ in (True, False)
)
"""Every way in which a node may read its allowList: the pages do not say which."""


def locking_out_everybody(case: Case) -> Iterator[Violation]:
    """After the change, some address still has a role that may deliver a setting."""
    for target in _changed(case):
        if not _anybody(target.content.document):
            yield Violation(
                "lock-out-all",
                f"{case.plan.cluster}/{target.node}",
                f"{target.node}: no entry of the new allowList has a role with {NEEDED}, "
                "so nobody could deliver another setting",
                f"give some address a role with {NEEDED}",
            )


def locking_out_this_host(case: Case) -> Iterator[Violation]:
    """After the change, this host may still deliver a setting, however the node reads its allowList.

    Where the address that the node sees is not known, because it is translated on the way, every
    address that may deliver one now is taken for this host's.
    """
    for target in _changed(case):
        answer = case.observed.nodes.get(target.node)
        if not isinstance(answer, Present):
            continue
        loaded: Loaded = answer.value
        caller = loaded.caller
        if not caller or not any(_may(loaded.content.document, caller, rule) for rule in _RULES):
            continue
        if not all(_may(target.content.document, caller, rule) for rule in _RULES):
            yield Violation(
                "lock-out",
                f"{case.plan.cluster}/{target.node}",
                f"{target.node}: {caller}, this host's address, would no longer be sure of {NEEDED}",
                f"keep an allowList entry for {caller}, before any other that holds it, "
                f"with a role that has {NEEDED}",
            )


GUARDS: tuple[Guard, ...] = (locking_out_everybody, locking_out_this_host)
"""All of them; the order does not matter."""


def _changed(case: Case) -> Iterator[Target]:
    desired: Desired = case.desired
    nodes = {step.node for step in case.plan.steps}
    yield from (target for target in desired.targets if target.node in nodes)


def _may(document: Any, caller: str, rule: Choices) -> bool:
    return NEEDED in access(document if isinstance(document, Mapping) else None, caller, rule).permissions


def _anybody(document: Any) -> bool:
    """Whether a role that may deliver is given to some address; without a list, the default role counts."""
    api = mapping(document, "env", "management", "api")
    default = api.get("defaultRole", "admin")
    roles = at(document, ("env", "management", "roles"))
    able = {
        role.get("name")
        for _, role in items({"roles": FACTORY_ROLES if roles is None else roles}, "roles")
        if isinstance(role, Mapping) and NEEDED in granted_by(role)
    }
    entries = items(api, "allowList")
    given = {mapping(entry).get("role") or default for _, entry in entries} if entries else {default}
    return bool(given & able)
