"""How one step stands against a fresh look: the same judgement before it, after it, and after a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from reconciler.core.observation import Absent, Observed, Present, Stale
from reconciler.core.plan import Step
from reconciler.core.step import Standing, Verdict
from reconciler.drivers.sora import preconditions
from reconciler.drivers.sora.arguments import (
    ClusterStep,
    Drain,
    Init,
    ModeChange,
    Purge,
    Register,
    Stop,
    cluster_step,
)
from reconciler.drivers.sora.cluster_view import Picture, picture_of, silence, state_of
from reconciler.drivers.sora.decision import Answers, Collapsed, decide
from reconciler.drivers.sora.history import Earlier, History, Knowledge
from reconciler.drivers.sora.init_cluster import answers_of, doubt, expired, runs_apart
from reconciler.drivers.sora.membership import Membership
from reconciler.drivers.sora.modes import mode_of
from reconciler.drivers.sora.node_actions import enough, unknown
from reconciler.drivers.sora.schema import NodeView
from reconciler.drivers.sora.stopped import stopped


def judge(step: Step, seen: Observed[NodeView]) -> Verdict:
    """How the step stands, given the answers of its witnesses.

    Membership is believed only where every node that sees a majority says the same.
    """
    own = cluster_step(step)
    if isinstance(own, Init):
        return _init(own, picture_of(seen, regular=own.after.regular, single=own.single))
    picture = picture_of(seen, regular=own.before.regular, single=())
    if isinstance(own, ModeChange) and not isinstance(own, Drain):
        return _mode(own, picture)
    if not picture.speakers:
        return Verdict(Standing.UNKNOWN, "no node that sees a majority answers")
    membership = picture.membership
    if membership is None:
        return Verdict(Standing.UNKNOWN, "the views of the nodes disagree about who is a member")
    return _changed(own, step, picture, membership)


def _changed(own: ClusterStep, step: Step, picture: Picture, membership: Membership) -> Verdict:
    match own:
        case Register():
            return _register(own, picture, membership)
        case Purge():
            return _purge(own, picture, membership)
        case Drain():
            return _drain(own, picture, membership)
        case Stop():
            return _stop(own, step, picture, membership)
    raise AssertionError(step.action)


def _init(own: Init, picture: Picture) -> Verdict:
    names = own.names
    if picture.membership == own.after:
        missing = [name for name in names if not (name in picture.speakers and picture.connected(name))]
        if missing:
            return Verdict(Standing.UNKNOWN, f"the new cluster is listed, but {missing[0]} is not in it yet")
        return Verdict(Standing.DONE, "every node lists the new cluster")
    if picture.membership is not None and picture.membership.names == tuple(sorted(names)):
        # A node that a fleet file calls regular may be temporary: the cluster is founded all the same.
        other = ", ".join(picture.membership.temporary)
        return Verdict(Standing.DONE, f"every node is in the new cluster; {other} joined as a temporary node")
    history = History({name: Earlier(required=True) for name in own.earlier})
    answers = answers_of(names, history, picture)
    if answers is Answers.LIVING:
        who = ", ".join((*picture.speakers, *(f"{name} at {place}" for name, place in picture.living)))
        return Verdict(Standing.CHANGED, f"{who} is in a cluster that holds a majority")
    if answers is Answers.SILENT:
        heard = (Present, Absent, Stale)
        silent = next(name for name in names if not isinstance(picture.observed.nodes.get(name), heard))
        return Verdict(Standing.UNKNOWN, f"{silent}: {silence(picture.observed.nodes.get(silent))}")
    return _founded_on(own, picture, answers)


def _founded_on(own: Init, picture: Picture, answers: Answers) -> Verdict:
    """Whether the entry of the fleet file still allows to initialise; all regular nodes have answered."""
    word = own.word
    if expired(word.until, picture):
        return Verdict(Standing.CHANGED, f"the `{word.name}` entry expired on {word.until}")
    collapsed = Collapsed.NONE
    if word.name == "collapsed":
        apart = runs_apart(own.names, own.witnesses, picture)
        collapsed = Collapsed.APART if apart else Collapsed.VALID
    outcome = decide(
        answers, Knowledge(own.knowledge), initialise=word.name == "initialise", collapsed=collapsed
    )
    if outcome.allowed and not (own.clear and answers in {Answers.ALONE, Answers.UNCLEAR}):
        why = doubt(outcome, own.names, picture, members=own.members, required=own.earlier)
        return Verdict(Standing.CHANGED, why) if why and not own.unproven else _READY
    words = "a node no longer answers that it was never initialised"
    return Verdict(Standing.CHANGED, f"{words} ({answers}): {outcome}")


def _register(own: Register, picture: Picture, membership: Membership) -> Verdict:
    target = own.target
    if target in membership.names:
        if picture.connected(target) and target in picture.speakers:
            return Verdict(Standing.DONE, "the members list it as connected, and it lists them")
        if picture.connected(target) or picture.disputed:
            return Verdict(
                Standing.UNKNOWN,
                f"it is listed, but does not show the cluster itself: {_own(picture, target)}",
            )
        if not (own.again and picture.outside(target)):
            why = "it is registered by half: listed by the members, but not connected to them"
            return Verdict(Standing.CHANGED, why)
    if membership != own.before or not picture.agreed:
        return _other(membership, picture)
    if not picture.joinable(target):
        return Verdict(Standing.UNKNOWN, f"{target} cannot be registered: {_own(picture, target)}")
    return _if_allowed(
        picture,
        own.contact,
        preconditions.against_register,
        first=target,
        second=own.contact,
        temporary=(target,) if own.temporary else (),
    )


def _purge(own: Purge, picture: Picture, membership: Membership) -> Verdict:
    target = own.target
    if target not in membership.names:
        return Verdict(Standing.DONE, "no member lists it any more")
    if membership != own.before or not picture.agreed:
        return _other(membership, picture)
    proof, word = stopped(picture, target, own.known, regular=own.regular), own.word
    if word.until and expired(word.until, picture):
        return Verdict(Standing.CHANGED, f"the `stopped` entry for {target} expired on {word.until}")
    if not proof.enough(word=bool(word.until)):
        return Verdict(Standing.CHANGED, f"{target} is not known to be stopped: {proof.words}")
    if not enough(picture, membership):
        return Verdict(Standing.UNKNOWN, "too few members answer to believe that it is stopped")
    return _if_allowed(picture, own.contact, preconditions.against_purge, first=own.contact, second=target)


def _drain(own: Drain, picture: Picture, membership: Membership) -> Verdict:
    target = own.target
    observed = mode_of(picture, target)
    if observed in {own.mode, "block_new_connection"}:
        return Verdict(Standing.DONE, "the node takes no new sessions")
    if not observed:
        return Verdict(Standing.UNKNOWN, f"{target} does not tell its mode: {_own(picture, target)}")
    return _removable(own, picture, membership, spare=0)


def _stop(own: Stop, step: Step, picture: Picture, membership: Membership) -> Verdict:
    if picture.down(own.target):
        return Verdict(Standing.DONE, "no member sees it, and its API is silent")
    verdict = _removable(own, picture, membership, spare=own.spare)
    if step.waits_for_person and verdict.standing is Standing.READY:
        return Verdict(Standing.READY, f"stop {step.node} on its host, then run this again")
    return verdict


def _removable(own: Drain | Stop, picture: Picture, membership: Membership, *, spare: int) -> Verdict:
    target = own.target
    if membership != own.before or not picture.agreed:
        return _other(membership, picture)
    if target in membership.temporary:
        return _READY
    silent = unknown(picture, membership, but=target)
    if silent:
        return Verdict(Standing.UNKNOWN, f"{', '.join(silent)} is in the cluster but does not answer")
    roster, state = state_of(picture, (), ())
    why = preconditions.against_stop(state, roster.at(target), spare=spare)
    return Verdict(Standing.CHANGED, f"{target} must not be stopped: {why}") if why else _READY


def _mode(own: ModeChange, picture: Picture) -> Verdict:
    target, wanted, previous = own.target, own.mode, own.previous
    observed = mode_of(picture, target)
    if not observed:
        return Verdict(Standing.UNKNOWN, f"{target} does not tell its mode: {_own(picture, target)}")
    if observed == wanted:
        return Verdict(Standing.DONE, f"it is in {wanted}")
    if observed == previous:
        return _READY
    return Verdict(Standing.CHANGED, f"it is in {observed}, no longer in {previous}")


def _if_allowed(
    picture: Picture,
    contact: str,
    rule: Callable[..., str],
    *,
    first: str,
    second: str,
    temporary: tuple[str, ...] = (),
) -> Verdict:
    if contact not in picture.speakers or not picture.connected(contact):
        return Verdict(
            Standing.CHANGED, f"{contact}, which was to do it, no longer answers from within the majority"
        )
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
