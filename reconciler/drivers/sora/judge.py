"""How one step stands against a fresh look: the same judgement before it, after it, and after a crash."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Final

from reconciler.core.observation import Absent, Observed, Present, Stale
from reconciler.core.plan import Step
from reconciler.core.verdict import Standing, Verdict
from reconciler.drivers.sora import rules
from reconciler.drivers.sora.membership import Membership
from reconciler.drivers.sora.modes import mode_of
from reconciler.drivers.sora.picture import Picture, picture_of, silence, state_of
from reconciler.drivers.sora.schema import NodeView
from reconciler.drivers.sora.tasks import enough, unknown


def judge(step: Step, seen: Observed[NodeView]) -> Verdict:
    """How the step stands, given the answers of its witnesses.

    Membership is believed only where every node that sees a majority says the same.
    """
    before, after = (Membership.load(step.arguments[key]) for key in ("before", "after"))
    picture = picture_of(seen, regular=after.regular if step.action == "init" else before.regular)
    if step.action in _LOCAL:
        return _mode(step, picture)
    if step.action == "init":
        return _init(step, picture, after)
    if not picture.speakers:
        return Verdict(Standing.UNKNOWN, "no node that sees a majority answers")
    membership = picture.membership
    if membership is None:
        return Verdict(Standing.UNKNOWN, "the views of the nodes disagree about who is a member")
    return _JUDGES[step.action](step, picture, membership, before)


def _init(step: Step, picture: Picture, after: Membership) -> Verdict:
    names = step.arguments["names"]
    if picture.membership == after:
        missing = [name for name in names if not (name in picture.speakers and picture.connected(name))]
        if missing:
            return Verdict(Standing.UNKNOWN, f"the new cluster is listed, but {missing[0]} is not in it yet")
        return Verdict(Standing.DONE, "every node lists the new cluster")
    if picture.speakers:
        who = ", ".join(picture.speakers)
        return Verdict(Standing.CHANGED, f"{who} is in a cluster that holds a majority")
    answers = {name: picture.observed.nodes.get(name) for name in names}
    silent = [name for name, answer in answers.items() if not isinstance(answer, Present | Absent | Stale)]
    if silent:
        return Verdict(Standing.UNKNOWN, f"{silent[0]}: {silence(answers[silent[0]])}")
    return _founded_on(step.arguments["word"], picture, names)


def _founded_on(word: Mapping[str, str], picture: Picture, names: Sequence[str]) -> Verdict:
    """Whether the answers, or the word, still allow to initialise; all nodes have answered."""
    if word and word["name"] == "collapsed":
        expired = picture.day is not None and picture.day > date.fromisoformat(word["until"])
        return Verdict(Standing.CHANGED, f"the word counted until {word['until']}") if expired else _READY
    for name in names:
        answer = picture.observed.nodes[name]
        if not (picture.blank(name) if word else isinstance(answer, Absent)):
            return Verdict(Standing.CHANGED, f"{name} no longer answers that it was never initialised")
    return _READY


def _register(step: Step, picture: Picture, membership: Membership, before: Membership) -> Verdict:
    target, contact = step.arguments["target"], step.arguments["contact"]
    if target in membership.names:
        if picture.connected(target) and target in picture.speakers:
            return Verdict(Standing.DONE, "the members list it as connected, and it lists them")
        if picture.connected(target) or picture.disputed:
            return Verdict(
                Standing.UNKNOWN,
                f"it is listed, but does not show the cluster itself: {_own(picture, target)}",
            )
        if not (step.arguments["again"] and picture.blank(target)):
            why = "it is registered by half: listed by the members, but not connected to them"
            return Verdict(Standing.CHANGED, why)
    if membership != before or not picture.agreed:
        return _other(membership, picture)
    if not (picture.blank(target) or picture.alone(target)):
        return Verdict(Standing.UNKNOWN, f"{target} cannot be registered: {_own(picture, target)}")
    return _if_allowed(picture, step, contact, rules.against_register, first=target, second=contact)


def _purge(step: Step, picture: Picture, membership: Membership, before: Membership) -> Verdict:
    target, contact = step.arguments["target"], step.arguments["contact"]
    if target not in membership.names:
        return Verdict(Standing.DONE, "no member lists it any more")
    if membership != before or not picture.agreed:
        return _other(membership, picture)
    if not picture.down(target):
        return Verdict(Standing.CHANGED, f"{target} is not stopped: {_own(picture, target)}")
    if not enough(picture, membership):
        return Verdict(Standing.UNKNOWN, "too few members answer to believe that it is stopped")
    return _if_allowed(picture, step, contact, rules.against_purge, first=contact, second=target)


def _drain(step: Step, picture: Picture, membership: Membership, before: Membership) -> Verdict:
    target = step.arguments["target"]
    observed = mode_of(picture, target)
    if observed in {step.arguments["mode"], "block_new_connection"}:
        return Verdict(Standing.DONE, "the node takes no new sessions")
    if not observed:
        return Verdict(Standing.UNKNOWN, f"{target} does not tell its mode: {_own(picture, target)}")
    return _removable(step, picture, membership, before)


def _stop(step: Step, picture: Picture, membership: Membership, before: Membership) -> Verdict:
    if picture.down(step.arguments["target"]):
        return Verdict(Standing.DONE, "no member sees it, and its API is silent")
    verdict = _removable(step, picture, membership, before)
    if step.waits_for_person and verdict.standing is Standing.READY:
        return Verdict(Standing.READY, f"stop {step.node} on its host, then run this again")
    return verdict


def _removable(step: Step, picture: Picture, membership: Membership, before: Membership) -> Verdict:
    target = step.arguments["target"]
    if membership != before or not picture.agreed:
        return _other(membership, picture)
    silent = unknown(picture, membership, but=target)
    if silent:
        return Verdict(Standing.UNKNOWN, f"{', '.join(silent)} is in the cluster but does not answer")
    if target in membership.temporary:
        return _READY
    roster, state = state_of(picture, (), ())
    why = rules.against_stop(state, roster.at(target), spare=step.arguments.get("spare", 0))
    return Verdict(Standing.CHANGED, f"{target} must not be stopped: {why}") if why else _READY


def _mode(step: Step, picture: Picture) -> Verdict:
    target, wanted, previous = (step.arguments[key] for key in ("target", "mode", "previous"))
    observed = mode_of(picture, target)
    if not observed:
        return Verdict(Standing.UNKNOWN, f"{target} does not tell its mode: {_own(picture, target)}")
    if observed == wanted:
        return Verdict(Standing.DONE, f"it is in {wanted}")
    if observed == previous:
        return _READY
    return Verdict(Standing.CHANGED, f"it is in {observed}, no longer in {previous}")


def _if_allowed(
    picture: Picture, step: Step, contact: str, rule: Callable[..., str], *, first: str, second: str
) -> Verdict:
    if contact not in picture.speakers or not picture.connected(contact):
        return Verdict(
            Standing.CHANGED, f"{contact}, which was to do it, no longer answers from within the majority"
        )
    temporary = [first] if step.arguments.get("temporary") else []
    roster, state = state_of(picture, (first, second), temporary)
    why = rule(state, roster.at(first), roster.at(second))
    return Verdict(Standing.CHANGED, why) if why else _READY


def _other(membership: Membership, picture: Picture) -> Verdict:
    if picture.disputed:
        return Verdict(Standing.UNKNOWN, f"the members disagree whether {picture.disputed[0]} is connected")
    return Verdict(Standing.CHANGED, f"the members are now {membership}")


def _own(picture: Picture, name: str) -> str:
    return silence(picture.observed.nodes.get(name))


_READY: Final = Verdict(Standing.READY)
_LOCAL: Final = frozenset({"mode"})
_JUDGES: Final[Mapping[str, Callable[[Step, Picture, Membership, Membership], Verdict]]] = MappingProxyType(
    {"register": _register, "purge": _purge, "drain": _drain, "stop": _stop}
)
