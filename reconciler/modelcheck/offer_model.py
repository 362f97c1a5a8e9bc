"""Offers to nodes that poll, a rollout of them, and faults as one system for the model checker.

A pass writes one thing after the other (`offer_pass`). Between any two writes it may be killed, and nodes may
call (`offer_nodes`). How a poll is answered, which date an offer gets, what mail proves, how a step is judged
and whether a wave may close are decided by the functions of the program.

Bounds: a number of faults, kills, further commits and suspensions in all. The mailbox answers. Calls of one
node do not cross. A node takes one offer at a time, and may take any time for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.core.attempts import MOST_ATTEMPTS
from reconciler.core.offers import PollAnswer, decide_poll
from reconciler.core.polled_model import (
    BEFORE,
    EDITED,
    FOREIGN,
    NEWER,
    NOTHING,
    WANTED,
    MailEvent,
    ModelMail,
    ModelOffer,
    OfferedChange,
    PolledModel,
)
from reconciler.modelcheck.explore import Transition
from reconciler.modelcheck.offer_nodes import (
    NOW,
    close_offer,
    compact_node,
    hear,
    make_date,
    make_offer,
    make_overdue,
    name_offer,
    replace_mail,
    set_node,
)
from reconciler.modelcheck.offer_pass import Move, OfferPass
from reconciler.modelcheck.offer_state import ABSURD, NO_DATE, NodeState, OfferRules, OfferState, StepState

_AHEAD: Final = 1000
"""Dates by which a clock that is wrong is ahead."""

_ROUNDS: Final = 60
"""Passes after which a state counts as stuck, although every node polls: the longest need a dozen."""


class OfferModel:
    """The transitions of one model.

    Args:
        model: the product's.
        rules: of the rollout.
    """

    def __init__(self, model: PolledModel, rules: OfferRules) -> None:
        self._model, self._rules, self._pass = model, rules, OfferPass(model, rules)
        self._is_settled: dict[OfferState, bool] = {}

    def begin(
        self, *, nodes: int = 0, faults: int = 1, kills: int = 1, commits: int = 1, suspensions: int = 1
    ) -> OfferState:
        """The state before the first pass: every node has polled, and has reported what it has.

        Args:
            nodes: how many of the model's nodes take part; 0 for all.
            faults: how many faults may happen.
            kills: how often a pass may be killed.
            commits: how many further commits may come, at most one.
            suspensions: how often somebody may suspend changes.
        """
        log = (MailEvent(BEFORE), MailEvent(BEFORE, is_report=True, content=BEFORE), MailEvent(BEFORE))
        node = compact_node(NodeState(mail=ModelMail(log=log)))
        some = (node,) * (nodes or len(self._model.names))
        return OfferState(some, faults=faults, kills=kills, commits=commits, suspensions=suspensions)

    def moves(self, state: OfferState) -> Iterator[Move]:
        """All that can happen next, each with the invariant that it breaks, if any."""
        if state.under_way is None:
            # Judged between passes only: a pass that is under way ends, or is killed.
            if why := self._find_stuck(state):
                yield Transition("from here on, every node polls and loads, and passes follow", state, why)
            yield self._pass.settle_steps(state)
        else:
            yield from self._pass.continue_pass(state, state.under_way)
            if state.kills:
                yield Transition("the pass is killed", state._replace(under_way=None, kills=state.kills - 1))
            if not self._rules.interleaves:
                return
        yield from self._list_orders(state)
        for index, name in enumerate(self._model.names[: len(state.nodes)]):
            yield from self._list_calls(state, index, name)
            yield from self._list_times(state, index, name)
            if state.faults:
                yield from self._list_faults(state, index, name)

    # People.

    def _list_orders(self, state: OfferState) -> Iterator[Move]:
        if state.commits and state.revision == WANTED:
            yield Transition(
                "a newer commit comes", state._replace(revision=NEWER, commits=state.commits - 1)
            )
        if state.is_suspended:
            yield Transition("changes are resumed", state._replace(is_suspended=False))
        elif state.suspensions:
            held = state._replace(is_suspended=True, suspensions=state.suspensions - 1)
            yield Transition("changes are suspended", held)

    # Nodes.

    def _list_calls(self, state: OfferState, index: int, name: str) -> Iterator[Move]:
        """What a node does by itself."""
        node = state.nodes[index]
        if node.job == NOTHING:
            yield self._poll(state, index, name)
        elif self._model.is_accepted(index, node.job):
            loaded, broken = self._load(index, node)
            report = MailEvent(node.job, is_report=True, content=node.job, about=node.about)
            yield Transition(
                f"{name} loads what it took, and reports it",
                set_node(state, index, hear(loaded, report)),
                broken,
            )
        else:
            yield self._fail(state, index, f"{name} cannot load what it took, and reports why")

    def _poll(self, state: OfferState, index: int, name: str) -> Move:
        node, mail = state.nodes[index], state.nodes[index].mail
        current, last = mail.newest, mail.last
        decision = decide_poll(
            make_offer(current) if current else None,
            make_offer(last) if last else None,
            make_date(node.asked),
            NOW,
            is_held=state.is_suspended,
        )
        if decision.answer is not PollAnswer.OFFER or decision.offer is None:
            polled = hear(node, MailEvent(node.has))
            return Transition(f"{name} polls, and nothing has changed", set_node(state, index, polled))
        served = next((one for one in (current, last) if one and str(one.date) == decision.offer.id), None)
        if served is None:
            return Transition(f"{name} polls", state, f"{name} is served what no record has for it")
        broken = self._find_wrong_offer(state, node, served, name)
        taken = served._replace(is_taken=True)
        own = replace_mail(node, newest=taken if served is current else current, last=taken)
        own = own._replace(asked=served.date, job=served.content, about=served.date)
        own = hear(own, MailEvent(node.has, took=0 if served.is_taken else served.date))
        story = f"{name} polls, and takes {name_offer(served)}"
        return Transition(story, set_node(state, index, own), broken)

    def _find_wrong_offer(self, state: OfferState, node: NodeState, served: ModelOffer, name: str) -> str:
        if node.asked > NO_DATE and served.date <= node.asked:
            return f"{name} is served a date that is not later than the one that it has"
        if served.is_taken:
            return ""
        if served.is_closed or served.is_withdrawn:
            return f"{name} takes an offer that was withdrawn, or whose time is over"
        if state.is_suspended:
            return f"{name} takes {name_offer(served)} while changes are suspended"
        # Between the two writes of a rejection, and after a kill there, until the next pass.
        is_owed = state.owed is not None and state.owed.revision == served.revision
        if served.revision in state.rejected and not served.is_undo and not is_owed:
            return f"{name} takes {name_offer(served)}, although that revision was rejected"
        return ""

    def _load(self, index: int, node: NodeState) -> tuple[NodeState, str]:
        lost = self._model.find_lost_access(index, node.has, node.job)
        loaded = tuple(sorted({*node.loaded, node.job}))
        return node._replace(has=node.job, loaded=loaded, job=NOTHING, about=0), lost

    def _fail(self, state: OfferState, index: int, story: str) -> Move:
        node = state.nodes[index]
        report = MailEvent(node.has, is_report=True, content=node.has, about=node.about, is_ok=False)
        failed = hear(node._replace(job=NOTHING, about=0), report)
        return Transition(story, set_node(state, index, failed))

    def _list_faults(self, state: OfferState, index: int, name: str) -> Iterator[Move]:
        """What goes wrong at a node, or on its way here."""
        hit, node = state._replace(faults=state.faults - 1), state.nodes[index]
        if node.job != NOTHING:
            idle = node._replace(job=NOTHING, about=0)
            boot = MailEvent(node.has, is_report=True, content=node.has)
            yield self._fail(hit, index, f"{name} fails to load what it took, and reports why")
            yield Transition(
                f"{name} fails to load what it took, and its report is lost", set_node(hit, index, idle)
            )
            yield Transition(
                f"{name} is restarted before it has loaded", set_node(hit, index, hear(idle, boot))
            )
            if self._model.is_accepted(index, node.job):
                loaded, broken = self._load(index, node)
                again = MailEvent(node.job, is_report=True, content=node.job)
                yield Transition(
                    f"{name} loads, and its report is lost", set_node(hit, index, loaded), broken
                )
                yield Transition(
                    f"{name} loads, and is restarted before it reports",
                    set_node(hit, index, hear(loaded, again)),
                    broken,
                )
            return
        # Bound: an edit that leaves the version as it was is reported, or nothing could show it.
        for content, is_told in ((FOREIGN, False), (FOREIGN, True), (EDITED, True)):
            if node.has != content:
                edited = node._replace(has=content)
                if is_told:
                    edited = hear(edited, MailEvent(content, is_report=True, content=content))
                how = "another version" if content == FOREIGN else "the version that it had"
                told = ", which reports it" if is_told else ""
                story = f"somebody else gives {name} a setting with {how}{told}"
                yield Transition(story, set_node(hit, index, edited))
        for number, event in enumerate(node.mail.log):
            if event.is_report:
                late = hear(node, event._replace(has=node.has))
                yield Transition(f"report {number + 1} of {name} arrives again", set_node(hit, index, late))
        for story, asked in (
            ("forgets the date of its feed", NO_DATE),
            ("has a clock that is ahead", _AHEAD),
            ("sends an absurd date", ABSURD),
        ):
            if node.asked != asked:
                other = compact_node(node._replace(asked=asked))
                yield Transition(f"{name} {story}", set_node(hit, index, other))

    def _list_times(self, state: OfferState, index: int, name: str) -> Iterator[Move]:
        """Time passes."""
        node = state.nodes[index]
        mail = node.mail
        if mail.old < len(mail.log):
            silent = replace_mail(node, old=len(mail.log))
            yield Transition(f"{name} is not heard for long", set_node(state, index, silent))
        if mail.newest and not mail.newest.is_taken and not mail.newest.is_closed:
            closed = replace_mail(node, newest=mail.newest._replace(is_closed=True))
            yield Transition(
                f"the time of {name_offer(mail.newest)} to {name} is over", set_node(state, index, closed)
            )
        if (late := make_overdue(node)) is not node:
            yield Transition(f"{name} is overdue", set_node(state, index, late))

    # The end.

    def _find_stuck(self, state: OfferState) -> str:
        """Why a state cannot be settled, although every node polls and passes follow; empty if it can."""
        seen: list[OfferState] = []
        while state not in self._is_settled:
            if state in seen or len(seen) > _ROUNDS:
                self._is_settled |= dict.fromkeys(seen, False)
                break
            seen.append(state)
            if self._is_at_rest(state):
                self._is_settled[state] = True
                break
            state = self._follow_round(state)
        is_settled = self._is_settled[state]
        self._is_settled |= dict.fromkeys(seen, is_settled)
        return "" if is_settled else self._describe_unrest(state)

    def _is_at_rest(self, state: OfferState) -> bool:
        return state.under_way is None and not self._describe_unrest(state)

    def _describe_unrest(self, state: OfferState) -> str:
        if state.owed is not None:
            return f"the way back from revision {state.owed.revision} never ends"
        for index, node in enumerate(state.nodes):
            name = self._model.names[index]
            if any(step.state is not StepState.UNKNOWN for step in node.steps):
                return f"an offer to {name} never ends"
            if state.revision in state.rejected:
                if index in state.failed and self._keeps_rejected(state, index, node):
                    return f"{name} keeps revision {state.revision}, which was rejected"
                continue
            is_over = node.purpose == state.revision and (node.is_refused or node.attempts >= MOST_ATTEMPTS)
            if node.has != state.revision and not is_over and not self._has_stalled(state):
                return f"{name} never gets revision {state.revision}"
        return ""

    def _keeps_rejected(self, state: OfferState, index: int, node: NodeState) -> bool:
        newest = node.mail.newest
        if newest is None or newest.is_undo or newest.former == NOTHING or not self._rules.returns:
            return False
        change = OfferedChange(index, newest.former, newest.content)
        return node.has == newest.content == state.revision and not self._pass.has_failed(change, node)

    def _has_stalled(self, state: OfferState) -> bool:
        """Whether the rollout waits for a person because of a node that got all its attempts in vain."""
        return any(
            node.has != state.revision
            and node.purpose == state.revision
            and (node.is_refused or node.attempts >= MOST_ATTEMPTS)
            for node in state.nodes
        )

    def _follow_round(self, state: OfferState) -> OfferState:
        """What follows if every node calls and nothing fails: polls, a pass; if nothing moves, time."""
        before = state = state._replace(is_suspended=False)
        for index, name in enumerate(self._model.names[: len(state.nodes)]):
            for _ in range(3):
                state = next(self._list_calls(state, index, name)).state
            node = state.nodes[index]
            if node.job == NOTHING and not self._model.is_present(index, node.mail):
                # As after a start: where a report was lost, and the version says nothing, the next tells.
                report = MailEvent(node.has, is_report=True, content=node.has)
                state = set_node(state, index, hear(node, report))
        state = self._pass.settle_steps(state).state
        while state.under_way is not None:
            # The last one: the first may be a gate that fails.
            state = [*self._pass.continue_pass(state, state.under_way)][-1].state
        if state != before:
            return state
        return state._replace(nodes=tuple(make_overdue(close_offer(node)) for node in state.nodes))
