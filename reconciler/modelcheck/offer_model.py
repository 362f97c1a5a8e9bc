"""Offers to nodes that poll, a rollout of them, and faults as one system for the model checker.

The model does what `rollout` does with nodes that poll, write by write: it settles the open steps by reading,
withdraws offers that a newer revision replaces, opens a wave, journals the intent of each step, records its
offer and its outcome, closes the wave, or rejects the revision, withdraws, and offers the way back. Between
any two writes it may be killed, and nodes may call. How a poll is answered, which date an offer gets, what
mail proves, how a step is judged and whether a wave may close are decided by the functions of the program.

Bounds: a number of faults, kills, further commits and suspensions in all. The mailbox answers. Calls of one
node do not cross. A node takes one offer at a time, and may take any time for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeAlias

from reconciler.core.attempts import MOST_ATTEMPTS
from reconciler.core.fields import resolve_amount
from reconciler.core.observation import Observed, Present, Unreachable
from reconciler.core.offers import SECOND, Offer, OfferFeed, PollAnswer, choose_last_modified, decide_poll
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
from reconciler.core.step_status import StepStatus
from reconciler.core.wave_state import WaveState, assess_wave
from reconciler.modelcheck.explore import Transition

_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of every event: dates of offers differ although all are of one second, which is the worst case."""

_LATER: Final = timedelta(hours=1)

ABSURD: Final = -2
"""A date that no answer of a server can explain."""

NO_DATE: Final = -1

_AHEAD: Final = 1000
"""Dates by which a clock that is wrong is ahead."""


class StepState(IntEnum):
    """What the journal has of an open step."""

    INTENDED = 0
    OFFERED = 1
    UNKNOWN = 2


class OpenStep(NamedTuple):
    """A step in the journal whose outcome is not final.

    Args:
        date: of its offer; 0 if it was not recorded.
        is_overdue: whether its time is over.
        heard: whether the node has polled since its offer was made.
    """

    change: OfferedChange
    revision: int
    state: StepState
    date: int = 0
    is_overdue: bool = False
    heard: bool = False


class NodeState(NamedTuple):
    """One node, and what the store has of it.

    Args:
        has: what it has loaded.
        loaded: all that it has ever loaded, sorted; it decides nothing, and outcomes are judged by it.
        asked: the date that it sends with its next poll.
        job: the content that it is loading; `NOTHING` for none.
        about: date of the offer that it is loading; `NOTHING` if the store does not have it any more.
        steps: its open steps, oldest first.
        purpose: content of its last attempts.
        attempts: how many of them there were.
        is_refused: whether it reported that it cannot load it.
    """

    has: int = BEFORE
    loaded: tuple[int, ...] = ()
    asked: int = NO_DATE
    job: int = NOTHING
    about: int = 0
    mail: ModelMail = ModelMail()
    steps: tuple[OpenStep, ...] = ()
    purpose: int = NOTHING
    attempts: int = 0
    is_refused: bool = False


class Stage(IntEnum):
    """What a pass does next."""

    PLAN = 0
    WITHDRAW = 1
    END_WITHDRAWN = 2
    RUN = 3
    INTEND = 4
    OFFER = 5
    CONCLUDE = 6
    CLOSE = 7
    REJECT = 8
    RETURN = 9
    END_WAVE = 10
    UNDO = 11
    UNDO_OFFER = 12
    UNDO_CONCLUDE = 13
    NARROW = 14


class PassState(NamedTuple):
    """A pass that is under way.

    Args:
        revision: that it applies.
        steps: that are left to be sent after the wave at hand, in the order of the plan.
        wave: steps of the wave at hand that are left.
        superseded: nodes whose older offers are withdrawn.
        refused: nodes of the open wave that reported that they cannot load their content.
        can_close: whether the open wave can close by what was read for the plan.
        waits: whether a step of the wave has not shown its effect.
        undo: steps of the way back that are left.
        goes_on: whether the plan is performed after the way back of an earlier revision.
    """

    stage: Stage
    revision: int
    steps: tuple[OfferedChange, ...] = ()
    wave: tuple[OfferedChange, ...] = ()
    superseded: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    can_close: bool = True
    waits: bool = False
    undo: tuple[OfferedChange, ...] = ()
    goes_on: bool = False


class Return(NamedTuple):
    """What is to do for the offers of a failed wave, as it is stored with the rejection.

    Args:
        revision: that was rejected.
        nodes: whose offers are to be withdrawn or taken back.
    """

    revision: int
    nodes: tuple[int, ...]


class OfferState(NamedTuple):
    """The whole system at one moment.

    Args:
        revision: the newest commit.
        rollout: the revision whose rollout is open; `NOTHING` for none.
        number: how many waves of it have begun.
        wave: nodes of the wave that has not passed.
        rejected: revisions that failed.
        owed: what is left to do for a failed wave.
        failed: nodes of the failed wave; it decides nothing, and the end is judged by it.
        under_way: the pass; None between two of them.
        faults: how many may still happen.
        kills: how often a pass may still be killed.
        commits: how many further commits may come.
        suspensions: how often somebody may still suspend changes.
    """

    nodes: tuple[NodeState, ...]
    revision: int = WANTED
    rollout: int = NOTHING
    number: int = 0
    wave: tuple[int, ...] = ()
    rejected: tuple[int, ...] = ()
    owed: Return | None = None
    failed: tuple[int, ...] = ()
    is_suspended: bool = False
    under_way: PassState | None = None
    faults: int = 1
    kills: int = 1
    commits: int = 1
    suspensions: int = 1


Move: TypeAlias = Transition[OfferState]


@dataclass(frozen=True, slots=True)
class OfferRules:
    """What the fleet file says about a rollout.

    Args:
        sizes: nodes of each wave; empty for a cluster without waves.
        allowed: `Rollout.max_unknown`.
        returns: whether a failed wave is offered what it had before.
        interleaves: whether nodes may call while a pass is under way.
    """

    sizes: tuple[int, ...] = ()
    allowed: str = "0"
    returns: bool = False
    interleaves: bool = True


_ROUNDS: Final = 60
"""Passes after which a state counts as stuck, although every node polls: the longest need a dozen."""


@dataclass(slots=True)
class _PlanReading:
    """What a reading of all nodes shows: nodes by their indices."""

    steps: list[OfferedChange] = field(default_factory=list)
    superseded: set[int] = field(default_factory=set)
    pending: set[int] = field(default_factory=set)
    planned: set[int] = field(default_factory=set)
    retried: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)


class OfferModel:
    """The transitions of one model.

    Args:
        model: the product's.
        rules: of the rollout.
    """

    def __init__(self, model: PolledModel, rules: OfferRules) -> None:
        self._model, self._rules = model, rules
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
        node = _compact(NodeState(mail=ModelMail(log=log)))
        some = (node,) * (nodes or len(self._model.names))
        return OfferState(some, faults=faults, kills=kills, commits=commits, suspensions=suspensions)

    def moves(self, state: OfferState) -> Iterator[Move]:
        """All that can happen next, each with the invariant that it breaks, if any."""
        if state.under_way is None:
            # Judged between passes only: a pass that is under way ends, or is killed.
            if why := self._find_stuck(state):
                yield Transition("from here on, every node polls and loads, and passes follow", state, why)
            yield self._settle_steps(state)
        else:
            yield from self._continue_pass(state, state.under_way)
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
                _set_node(state, index, _hear(loaded, report)),
                broken,
            )
        else:
            yield self._fail(state, index, f"{name} cannot load what it took, and reports why")

    def _poll(self, state: OfferState, index: int, name: str) -> Move:
        node, mail = state.nodes[index], state.nodes[index].mail
        current, last = mail.newest, mail.last
        decision = decide_poll(
            _make_offer(current) if current else None,
            _make_offer(last) if last else None,
            _make_date(node.asked),
            _NOW,
            is_held=state.is_suspended,
        )
        if decision.answer is not PollAnswer.OFFER or decision.offer is None:
            polled = _hear(node, MailEvent(node.has))
            return Transition(f"{name} polls, and nothing has changed", _set_node(state, index, polled))
        served = next((one for one in (current, last) if one and str(one.date) == decision.offer.id), None)
        if served is None:
            return Transition(f"{name} polls", state, f"{name} is served what no record has for it")
        broken = self._find_wrong_offer(state, node, served, name)
        taken = served._replace(is_taken=True)
        own = replace_mail(node, newest=taken if served is current else current, last=taken)
        own = own._replace(asked=served.date, job=served.content, about=served.date)
        own = _hear(own, MailEvent(node.has, took=0 if served.is_taken else served.date))
        return Transition(f"{name} polls, and takes {_name(served)}", _set_node(state, index, own), broken)

    def _find_wrong_offer(self, state: OfferState, node: NodeState, served: ModelOffer, name: str) -> str:
        if node.asked > NO_DATE and served.date <= node.asked:
            return f"{name} is served a date that is not later than the one that it has"
        if served.is_taken:
            return ""
        if served.is_closed or served.is_withdrawn:
            return f"{name} takes an offer that was withdrawn, or whose time is over"
        if state.is_suspended:
            return f"{name} takes {_name(served)} while changes are suspended"
        # Between the two writes of a rejection, and after a kill there, until the next pass.
        is_owed = state.owed is not None and state.owed.revision == served.revision
        if served.revision in state.rejected and not served.is_undo and not is_owed:
            return f"{name} takes {_name(served)}, although that revision was rejected"
        return ""

    def _load(self, index: int, node: NodeState) -> tuple[NodeState, str]:
        lost = self._model.find_lost_access(index, node.has, node.job)
        loaded = tuple(sorted({*node.loaded, node.job}))
        return node._replace(has=node.job, loaded=loaded, job=NOTHING, about=0), lost

    def _fail(self, state: OfferState, index: int, story: str) -> Move:
        node = state.nodes[index]
        report = MailEvent(node.has, is_report=True, content=node.has, about=node.about, is_ok=False)
        failed = _hear(node._replace(job=NOTHING, about=0), report)
        return Transition(story, _set_node(state, index, failed))

    def _list_faults(self, state: OfferState, index: int, name: str) -> Iterator[Move]:
        """What goes wrong at a node, or on its way here."""
        hit, node = state._replace(faults=state.faults - 1), state.nodes[index]
        if node.job != NOTHING:
            idle = node._replace(job=NOTHING, about=0)
            boot = MailEvent(node.has, is_report=True, content=node.has)
            yield self._fail(hit, index, f"{name} fails to load what it took, and reports why")
            yield Transition(
                f"{name} fails to load what it took, and its report is lost", _set_node(hit, index, idle)
            )
            yield Transition(
                f"{name} is restarted before it has loaded", _set_node(hit, index, _hear(idle, boot))
            )
            if self._model.is_accepted(index, node.job):
                loaded, broken = self._load(index, node)
                again = MailEvent(node.job, is_report=True, content=node.job)
                yield Transition(
                    f"{name} loads, and its report is lost", _set_node(hit, index, loaded), broken
                )
                yield Transition(
                    f"{name} loads, and is restarted before it reports",
                    _set_node(hit, index, _hear(loaded, again)),
                    broken,
                )
            return
        # Bound: an edit that leaves the version as it was is reported, or nothing could show it.
        for content, is_told in ((FOREIGN, False), (FOREIGN, True), (EDITED, True)):
            if node.has != content:
                edited = node._replace(has=content)
                if is_told:
                    edited = _hear(edited, MailEvent(content, is_report=True, content=content))
                how = "another version" if content == FOREIGN else "the version that it had"
                told = ", which reports it" if is_told else ""
                story = f"somebody else gives {name} a setting with {how}{told}"
                yield Transition(story, _set_node(hit, index, edited))
        for number, event in enumerate(node.mail.log):
            if event.is_report:
                late = _hear(node, event._replace(has=node.has))
                yield Transition(f"report {number + 1} of {name} arrives again", _set_node(hit, index, late))
        for story, asked in (
            ("forgets the date of its feed", NO_DATE),
            ("has a clock that is ahead", _AHEAD),
            ("sends an absurd date", ABSURD),
        ):
            if node.asked != asked:
                other = _compact(node._replace(asked=asked))
                yield Transition(f"{name} {story}", _set_node(hit, index, other))

    def _list_times(self, state: OfferState, index: int, name: str) -> Iterator[Move]:
        """Time passes."""
        node = state.nodes[index]
        mail = node.mail
        if mail.old < len(mail.log):
            silent = replace_mail(node, old=len(mail.log))
            yield Transition(f"{name} is not heard for long", _set_node(state, index, silent))
        if mail.newest and not mail.newest.is_taken and not mail.newest.is_closed:
            closed = replace_mail(node, newest=mail.newest._replace(is_closed=True))
            yield Transition(
                f"the time of {_name(mail.newest)} to {name} is over", _set_node(state, index, closed)
            )
        if (late := _make_overdue(node)) is not node:
            yield Transition(f"{name} is overdue", _set_node(state, index, late))

    # Passes.

    def _settle_steps(self, state: OfferState) -> Move:
        """A pass begins: it settles the open steps by reading, in one write."""
        found = [self._settle_node(index, node) for index, node in enumerate(state.nodes)]
        after = state._replace(
            nodes=tuple(node for node, _ in found), under_way=PassState(Stage.PLAN, state.revision)
        )
        broken = next(filter(None, (why for _, why in found)), "")
        return Transition("a pass begins, and settles the open steps by reading", after, broken)

    def _settle_node(self, index: int, node: NodeState) -> tuple[NodeState, str]:
        kept: list[OpenStep] = []
        done: set[int] = set()
        broken = ""
        for step in node.steps:
            verdict = self._model.judge(step.change, node.mail)
            if verdict.status is StepStatus.DONE:
                done.add(step.change.after)
                node = _withdraw_needless(node, step)
                broken = broken or self._find_false_outcome(step.change, node)
            elif verdict.is_final:
                node = _note_end(node, step, is_refused=True)
            else:
                own, node = self._settle_offer(node, step)
                kept += [own] if own else []
        if len(done) > 1:
            broken = f"{self._model.names[index]} counts as having two different contents at once"
        return _compact(node._replace(steps=tuple(kept))), broken

    def _settle_offer(self, node: NodeState, step: OpenStep) -> tuple[OpenStep | None, NodeState]:
        """The step of an offer that shows no effect, as far as it stays open."""
        mail = node.mail
        own = next(
            (one for one in (mail.newest, mail.last) if one and step.date and one.date == step.date), None
        )
        if own is None and step.state is StepState.INTENDED:
            return None, _note_end(node, step, was_sent=False)
        if not step.is_overdue:
            return step._replace(state=StepState.OFFERED), node
        if own is None or own.is_taken or step.state is StepState.UNKNOWN:
            return step._replace(state=StepState.UNKNOWN), node
        if step.heard:
            return None, _note_end(node, step, was_sent=False)
        return step._replace(state=StepState.UNKNOWN), _note_end(node, step, was_sent=False)

    def _find_false_outcome(self, change: OfferedChange, node: NodeState) -> str:
        # It may have loaded something else since it was heard.
        if change.after == BEFORE or change.after in node.loaded:
            return ""
        return f"{self._model.names[change.node]} counts as done, although it never had its content"

    def _continue_pass(self, state: OfferState, now: PassState) -> Iterator[Move]:
        if now.stage is Stage.CLOSE:
            yield from self._close_wave(state, now)
            return
        perform = {
            Stage.PLAN: self._plan,
            Stage.WITHDRAW: self._withdraw_superseded,
            Stage.END_WITHDRAWN: self._end_superseded,
            Stage.RUN: self._begin_wave,
            Stage.INTEND: self._intend,
            Stage.OFFER: self._offer_forward,
            Stage.CONCLUDE: self._conclude,
            Stage.REJECT: self._reject,
            Stage.RETURN: self._withdraw_wave,
            Stage.END_WAVE: self._end_wave,
            Stage.UNDO: self._intend_undo,
            Stage.UNDO_OFFER: self._offer_back,
            Stage.UNDO_CONCLUDE: self._conclude_undo,
            Stage.NARROW: self._narrow_return,
        }[now.stage]
        yield perform(state, now)

    def _withdraw_superseded(self, state: OfferState, now: PassState) -> Move:
        withdrawn = state._replace(nodes=_withdraw(state.nodes, now.superseded))
        return Transition("older offers are withdrawn", _go(withdrawn, now, Stage.END_WITHDRAWN))

    def _end_superseded(self, state: OfferState, now: PassState) -> Move:
        """End the steps of older offers that their nodes had not taken; others stay open."""
        nodes = list(state.nodes)
        for index in now.superseded:
            node = nodes[index]
            kept = []
            for step in node.steps:
                own = _find_offer(node, step)
                is_open = step.state is StepState.OFFERED and not step.is_overdue
                if not is_open or step.change.is_undo or (own is not None and own.is_taken):
                    kept.append(step)
            nodes[index] = _compact(node._replace(steps=tuple(kept)))
        ended = state._replace(nodes=tuple(nodes))
        stage = Stage.RETURN if state.owed else Stage.RUN
        return Transition("the steps of withdrawn offers end", _go(ended, now, stage))

    def _offer_forward(self, state: OfferState, now: PassState) -> Move:
        return self._offer(state, now, now.wave[0], Stage.CONCLUDE)

    def _offer_back(self, state: OfferState, now: PassState) -> Move:
        return self._offer(state, now, now.undo[0], Stage.UNDO_CONCLUDE)

    def _conclude_undo(self, state: OfferState, now: PassState) -> Move:
        offered = self._mark_offered(state, now.undo[0])
        return Transition("its outcome is recorded", self._go_back(offered, now._replace(undo=now.undo[1:])))

    def _plan(self, state: OfferState, now: PassState) -> Move:
        """Read all nodes, and decide what may be sent."""
        if now.revision in state.rejected:
            story = "the revision is rejected: nothing of it is planned"
            back = now._replace(stage=Stage.RETURN) if state.owed else None
            return Transition(story, state._replace(under_way=back))
        reading = _PlanReading()
        wave = state.wave if state.rollout == now.revision else ()
        nodes = tuple(
            self._read_node(index, node, now.revision, reading) for index, node in enumerate(state.nodes)
        )
        steps = reading.steps
        if self._rules.sizes:
            if (reading.pending and not wave) or reading.refused & {*wave}:
                steps = []
            elif reading.pending:
                steps = [step for step in steps if step.node in wave]
        wave_state = self._assess_wave(state, wave, steps, reading) if wave else None
        if wave_state is not None:
            steps = self._postpone(wave, steps, wave_state)
        after = now._replace(
            stage=Stage.WITHDRAW if reading.superseded else Stage.RETURN if state.owed else Stage.RUN,
            goes_on=True,
            steps=tuple(steps),
            superseded=tuple(sorted(reading.superseded)),
            refused=tuple(sorted(reading.refused & {*wave})),
            can_close=wave_state is None or wave_state.can_close,
        )
        return Transition("it reads all nodes, and plans", state._replace(nodes=nodes, under_way=after))

    def _read_node(self, index: int, node: NodeState, revision: int, reading: _PlanReading) -> NodeState:
        """Add to a reading what may be sent to a node; gives the node with its attempts."""
        change = self._model.plan_node(index, node.mail, revision)
        is_present = self._model.is_present(index, node.mail)
        has_content = change is None and is_present
        was_sent = node.purpose == revision and node.attempts > 0
        # A silent node has no step, and could still take what an older revision offered it.
        is_outdated = not is_present and node.purpose not in {NOTHING, revision}
        is_superseded = has_content or is_outdated or (change is not None and not was_sent)
        for step in node.steps:
            if not step.is_overdue and step.state is StepState.OFFERED and not step.change.is_undo:
                (reading.superseded if is_superseded else reading.pending).add(index)
        if change is not None:
            reading.planned.add(index)
        if change is not None and index not in reading.pending:
            if was_sent:
                reading.retried.add(index)
            if not was_sent or not (node.is_refused or node.attempts >= MOST_ATTEMPTS):
                reading.steps.append(change)
            elif node.is_refused:
                reading.refused.add(index)
        # Stored at the end of the pass, when the offers of what the node has already are withdrawn.
        if has_content and node.purpose != NOTHING and index not in reading.superseded:
            return node._replace(purpose=NOTHING, attempts=0, is_refused=False)
        return node

    def _assess_wave(
        self, state: OfferState, wave: tuple[int, ...], steps: list[OfferedChange], reading: _PlanReading
    ) -> WaveState:
        names = self._model.names
        sent = {step.node for step in steps}
        observed: Observed[Any] = Observed(
            {
                names[index]: Present(None)
                if self._model.is_present(index, node.mail)
                else Unreachable("it is silent")
                for index, node in enumerate(state.nodes)
            }
        )
        return assess_wave(
            [names[index] for index in wave],
            observed,
            pending={names[index] for index in reading.pending},
            planned={names[index] for index in sent},
            retried={names[index] for index in reading.retried},
            withheld={names[index] for index in reading.planned - sent},
            allowed=self._rules.allowed,
        )

    def _postpone(
        self, wave: tuple[int, ...], steps: list[OfferedChange], state: WaveState
    ) -> list[OfferedChange]:
        """The steps without those of overdue nodes, while others are waited for, and of later waves."""
        unknown = {self._model.names.index(name) for name in state.unknown}
        if not (state.waiting or state.unsent or state.can_close):
            unknown = set()
        return [step for step in steps if step.node not in unknown and (state.can_close or step.node in wave)]

    def _begin_wave(self, state: OfferState, now: PassState) -> Move:
        """Open the next wave, or end the pass."""
        is_open = state.rollout == now.revision
        if why := self._find_outdated_offer(state, now):
            return Transition("the older offers are dealt with", state._replace(under_way=None), why)
        if state.is_suspended:
            return Transition("changes are on hold, and the pass ends", state._replace(under_way=None))
        if is_open and now.refused:
            after = _go(state, now, Stage.REJECT)
            return Transition("a node of the wave reported that it failed", after)
        if not self._rules.sizes:
            whole = now._replace(stage=Stage.INTEND, wave=now.steps, steps=()) if now.steps else None
            return Transition("all steps begin", state._replace(under_way=whole))
        wave = state.wave if is_open else ()
        if wave:
            number, own = state.number, tuple(step for step in now.steps if step.node in wave)
        else:
            begun = state.number if is_open else 0
            number, own = begun + 1, now.steps[: self._get_size(begun)]
        if not wave and not own:
            over = state._replace(rollout=NOTHING, number=0, wave=(), under_way=None)
            return Transition("the rollout is over, and the pass ends", over)
        nodes = tuple(dict.fromkeys((*wave, *(step.node for step in own))))
        left = tuple(step for step in now.steps if step not in own)
        opened = state._replace(
            rollout=now.revision,
            number=number,
            wave=nodes,
            under_way=now._replace(
                stage=Stage.INTEND if own else Stage.CLOSE, wave=own, steps=left, waits=False
            ),
        )
        return Transition(f"wave {number} is begun", opened)

    def _find_outdated_offer(self, state: OfferState, now: PassState) -> str:
        """What is wrong if a node may still take what an older revision offered it; empty if nothing is."""
        for index, node in enumerate(state.nodes):
            newest = node.mail.newest
            if newest is None or newest.is_taken or newest.is_withdrawn or newest.is_closed or newest.is_undo:
                continue
            if newest.revision < now.revision:
                name = self._model.names[index]
                return f"{name} may take {_name(newest)}, although revision {now.revision} is applied"
        return ""

    def _get_size(self, begun: int) -> int:
        return self._rules.sizes[min(begun, len(self._rules.sizes) - 1)]

    def _intend(self, state: OfferState, now: PassState) -> Move:
        """Read a node once more, and write the intent of its step."""
        change = now.wave[0]
        node, name = state.nodes[change.node], self._model.names[change.node]
        verdict = self._model.judge(change, node.mail)
        if verdict.status is not StepStatus.READY:
            waits = now.waits or verdict.status is not StepStatus.DONE
            after = self._go_on(state, now._replace(waits=waits))
            return Transition(f"{name} is not offered anything ({verdict.status})", after)
        broken = ""
        if node.mail.old == len(node.mail.log):
            broken = f"{name} is offered a change, although nothing shows what it has now"
        count = node.attempts if node.purpose == change.after else 0
        step = OpenStep(change, now.revision, StepState.INTENDED)
        own = node._replace(
            steps=(*node.steps, step), purpose=change.after, attempts=count + 1, is_refused=False
        )
        intended = _go(_set_node(state, change.node, own), now, Stage.OFFER)
        return Transition(f"the intent of the offer to {name} is written", intended, broken)

    def _offer(self, state: OfferState, now: PassState, change: OfferedChange, then: Stage) -> Move:
        """Record an offer: untaken ones are withdrawn, and its date is later than all before."""
        node, name = state.nodes[change.node], self._model.names[change.node]
        mail = node.mail
        earlier = max((one.date for one in (mail.newest, mail.last) if one), default=0)
        chosen = choose_last_modified(_NOW, _make_date(earlier) if earlier else None, _make_date(node.asked))
        date = max(1, int((chosen - _NOW).total_seconds()))
        broken = ""
        if date <= max(earlier, node.asked):
            broken = f"the offer to {name} is not later than all before it"
        elif now.revision in state.rejected and not change.is_undo:
            broken = f"{name} is offered revision {now.revision}, although it was rejected"
        elif self._model.find_lost_access(change.node, node.has, change.after):
            broken = f"{name}: {self._model.find_lost_access(change.node, node.has, change.after)}"
        offer = ModelOffer(change.after, change.before, date, now.revision, change.is_undo)
        steps = tuple(
            step._replace(date=date) if step.state is StepState.INTENDED and step.change == change else step
            for step in node.steps
        )
        own = replace_mail(node._replace(steps=steps), newest=offer)
        after = _go(_set_node(state, change.node, _compact(own)), now, then)
        return Transition(f"{name} is offered {_name(offer)}", after, broken)

    def _conclude(self, state: OfferState, now: PassState) -> Move:
        change = now.wave[0]
        name, node = self._model.names[change.node], state.nodes[change.node]
        if self._model.judge(change, node.mail).status is StepStatus.DONE:
            node = _withdraw_needless(node, node.steps[-1])
            left = tuple(step for step in node.steps if step.change != change)
            ended = _set_node(state, change.node, node._replace(steps=left))
            broken = self._find_false_outcome(change, node)
            return Transition(f"{name} shows it at once", self._go_on(ended, now), broken)
        offered = self._mark_offered(state, change)
        return Transition(f"{name} counts as offered", self._go_on(offered, now._replace(waits=True)))

    def _mark_offered(self, state: OfferState, change: OfferedChange) -> OfferState:
        node = state.nodes[change.node]
        steps = tuple(
            step._replace(state=StepState.OFFERED)
            if step.change == change and step.state is StepState.INTENDED
            else step
            for step in node.steps
        )
        return _set_node(state, change.node, node._replace(steps=steps))

    def _go_on(self, state: OfferState, now: PassState) -> OfferState:
        """The state after a step of the wave has ended."""
        wave = now.wave[1:]
        stage = Stage.INTEND if wave else Stage.CLOSE
        if not wave and not self._rules.sizes:
            return state._replace(under_way=None)
        return state._replace(under_way=now._replace(stage=stage, wave=wave))

    def _close_wave(self, state: OfferState, now: PassState) -> Iterator[Move]:
        if now.waits or not now.can_close:
            yield Transition("the wave waits, and the pass ends", state._replace(under_way=None))
            return
        if state.faults:
            hit = state._replace(faults=state.faults - 1)
            yield Transition("a gate of the wave fails", _go(hit, now, Stage.REJECT))
        broken = self._find_unproven_wave(state, now)
        passed = state._replace(wave=(), under_way=now._replace(stage=Stage.RUN, refused=()))
        yield Transition(f"wave {state.number} passes", passed, broken)

    def _find_unproven_wave(self, state: OfferState, now: PassState) -> str:
        proven = [index for index in state.wave if now.revision in state.nodes[index].loaded]
        missing = [self._model.names[index] for index in state.wave if index not in proven]
        allowed = resolve_amount(self._rules.allowed, len(state.wave))
        if missing and (not proven or len(missing) > allowed):
            return f"wave {state.number} passes, although {missing[0]} never had its content"
        return ""

    def _reject(self, state: OfferState, now: PassState) -> Move:
        rejected = tuple(sorted({*state.rejected, now.revision}))
        reported = any(
            event.is_report and not event.is_ok
            for index in state.wave
            for event in state.nodes[index].mail.log
        )
        is_silent = bool(now.refused) and not reported
        broken = "a revision is rejected, although no node reported a failure" if is_silent else ""
        left = state.owed.nodes if state.owed else ()
        owed = Return(now.revision, tuple(sorted({*left, *state.wave})))
        after = state._replace(
            rejected=rejected, owed=owed, failed=state.wave, rollout=NOTHING, number=0, wave=()
        )
        return Transition(
            "the revision is rejected", _go(after, now._replace(goes_on=False), Stage.RETURN), broken
        )

    def _withdraw_wave(self, state: OfferState, now: PassState) -> Move:
        assert state.owed is not None
        due = tuple(index for index in state.owed.nodes if self._may_have_offer(state, index))
        nodes = _withdraw(state.nodes, due)
        after = _go(state._replace(nodes=nodes), now._replace(superseded=due), Stage.END_WAVE)
        return Transition("the offers of the failed wave are withdrawn", after)

    def _may_have_offer(self, state: OfferState, index: int) -> bool:
        """Whether neither a later revision nor the way back has replaced the wave's offer."""
        newest = state.nodes[index].mail.newest
        if newest is None or state.owed is None:
            return False
        if newest.is_undo and not newest.is_taken:
            return newest.is_withdrawn or newest.is_closed  # it is made again
        return not newest.is_undo and newest.revision == state.owed.revision

    def _end_wave(self, state: OfferState, now: PassState) -> Move:
        """End the steps of the failed wave that were not taken, and plan the way back of the others."""
        assert state.owed is not None
        nodes, undo = list(state.nodes), []
        for index in now.superseded:
            node = nodes[index]
            kept = [step for step in node.steps if not _is_withdrawn(node, step)]
            nodes[index] = _compact(node._replace(steps=tuple(kept)))
            last = node.mail.last
            if last is None or last.is_undo or last.revision != state.owed.revision:
                continue
            change = OfferedChange(index, last.former, last.content)
            if self._rules.returns and not self._has_failed(change, node):
                back = self._model.undo(change, last)
                undo += [back] if back is not None else []
        ended = state._replace(nodes=tuple(nodes))
        if state.is_suspended:
            return Transition("the wave ends, and the way back waits", self._end_return(ended, now))
        return Transition("the wave ends", self._go_back(ended, now._replace(undo=tuple(undo))))

    def _has_failed(self, change: OfferedChange, node: NodeState) -> bool:
        """Whether a node reported that it could not load an offer, and shows no change."""
        verdict = self._model.judge(change, node.mail)
        return verdict.is_final and verdict.status not in {StepStatus.DONE, StepStatus.CHANGED}

    def _go_back(self, state: OfferState, now: PassState) -> OfferState:
        return _go(state, now, Stage.UNDO if now.undo else Stage.NARROW)

    def _narrow_return(self, state: OfferState, now: PassState) -> Move:
        """Store what is left to do: nodes that have not taken the way back."""
        assert state.owed is not None
        left, broken = [], ""
        for index in state.owed.nodes:
            newest = state.nodes[index].mail.newest
            if newest is None:
                continue
            if newest.is_undo and not newest.is_taken and self._rules.returns:
                left.append(index)
            broken = broken or self._find_forgotten(state, index, newest)
        owed = state.owed._replace(nodes=tuple(left)) if left else None
        return Transition(
            "what is left of the way back is stored", self._end_return(state._replace(owed=owed), now), broken
        )

    def _find_forgotten(self, state: OfferState, index: int, newest: ModelOffer) -> str:
        """What is wrong if nothing more is done for a node; empty if nothing is."""
        assert state.owed is not None
        if newest.is_undo or newest.revision != state.owed.revision or not self._rules.returns:
            return ""
        node, name = state.nodes[index], self._model.names[index]
        if not newest.is_taken:
            return "" if newest.is_withdrawn else f"{name} may still take {_name(newest)}, which was rejected"
        change = OfferedChange(index, newest.former, newest.content)
        if newest.former == NOTHING or self._has_failed(change, node):
            return ""
        return f"{name} has taken {_name(newest)}, which was rejected, and is not offered the way back"

    def _end_return(self, state: OfferState, now: PassState) -> OfferState:
        if not now.goes_on:
            return state._replace(under_way=None)
        return _go(state, now, Stage.RUN)

    def _intend_undo(self, state: OfferState, now: PassState) -> Move:
        change = now.undo[0]
        node = state.nodes[change.node]
        step = OpenStep(change, now.revision, StepState.INTENDED)
        own = node._replace(steps=(*node.steps, step))
        name = self._model.names[change.node]
        after = _go(_set_node(state, change.node, own), now, Stage.UNDO_OFFER)
        return Transition(f"the intent of the way back of {name} is written", after)

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
        return node.has == newest.content == state.revision and not self._has_failed(change, node)

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
                state = _set_node(state, index, _hear(node, report))
        state = self._settle_steps(state).state
        while state.under_way is not None:
            # The last one: the first may be a gate that fails.
            state = [*self._continue_pass(state, state.under_way)][-1].state
        if state != before:
            return state
        return state._replace(nodes=tuple(_make_overdue(_close_offer(node)) for node in state.nodes))


def _make_offer(offer: ModelOffer) -> Offer:
    return Offer(
        id=str(offer.date),
        cluster="",
        node="",
        feed=OfferFeed.SETTING,
        run="",
        step="",
        revision="",
        label="",
        last_modified=_NOW + offer.date * SECOND,
        opens=_NOW,
        closes=_NOW if offer.is_closed else _NOW + _LATER,
        taken=_NOW if offer.is_taken else None,
        withdrawn=offer.is_withdrawn,
    )


def _make_date(asked: int) -> datetime | None:
    if asked == NO_DATE:
        return None
    return _NOW + timedelta(days=400) if asked == ABSURD else _NOW + asked * SECOND


def _name(offer: ModelOffer) -> str:
    return "the way back" if offer.is_undo else f"revision {offer.revision}"


def _set_node(state: OfferState, index: int, node: NodeState) -> OfferState:
    return state._replace(nodes=(*state.nodes[:index], node, *state.nodes[index + 1 :]))


def _go(state: OfferState, now: PassState, stage: Stage) -> OfferState:
    return state._replace(under_way=now._replace(stage=stage))


def replace_mail(node: NodeState, **changes: Any) -> NodeState:
    """The node with other mail."""
    return node._replace(mail=node.mail._replace(**changes))


def _hear(node: NodeState, event: MailEvent) -> NodeState:
    """The node after one of its calls was stored."""
    steps = node.steps
    if event.is_report and event.about and _is_late(node, event):
        return node
    if not event.is_report:
        steps = tuple(step._replace(heard=step.date > 0) for step in steps)
    heard = replace_mail(node._replace(steps=steps), log=(*node.mail.log, event))
    return _compact(heard)


def _is_late(node: NodeState, event: MailEvent) -> bool:
    """Whether a report is about an earlier offer than one that was reported, or is there already."""
    return any(
        one.is_report
        and (one.about > event.about or (event.about > 0 and one._replace(has=event.has) == event))
        for one in node.mail.log
    )


def _compact(node: NodeState) -> NodeState:
    """The same node with only what still matters, and with the smallest dates in the same order.

    The number of states would grow without limit otherwise.
    """
    mail, asked = node.mail, node.asked
    offers = [one.date for one in (mail.newest, mail.last) if one]
    kept = _select_events(mail.log, frozenset(offers))
    log = tuple(event for index, event in enumerate(mail.log) if index in kept)
    old = sum(index < mail.old for index in kept)
    used = {*offers, *([asked] if asked > 0 else [])}
    rank = {date: number for number, date in enumerate(sorted(used), 1)}

    def rename(date: int) -> int:
        return rank.get(date, 0)

    def rename_step(step: OpenStep) -> OpenStep:
        if step.state is StepState.UNKNOWN:  # what its offer was decides nothing any more
            return step._replace(date=NOTHING, heard=False)
        return step._replace(date=rename(step.date) if step.date in rank else (NOTHING if step.date else 0))

    def rename_offer(offer: ModelOffer | None) -> ModelOffer | None:
        return offer._replace(date=rank[offer.date]) if offer else None

    return node._replace(
        asked=rank[asked] if asked > 0 else asked,
        about=rename(node.about) or (NOTHING if node.about else 0),
        steps=tuple(dict.fromkeys(map(rename_step, node.steps))),
        mail=ModelMail(
            rename_offer(mail.newest),
            rename_offer(mail.last),
            tuple(
                event._replace(
                    about=rename(event.about) or (NOTHING if event.about else 0), took=rename(event.took)
                )
                for event in log
            ),
            old,
        ),
    )


def _select_events(log: tuple[MailEvent, ...], offers: frozenset[int]) -> frozenset[int]:
    """Indices of the events that the store keeps, or that tell when an offer was taken."""
    kept: set[int] = set()
    found: set[tuple[str, int]] = set()
    labels: list[int] = []
    for index in range(len(log) - 1, -1, -1):
        event = log[index]
        if event.is_report:
            keys = {("report", 0)} | ({("about", event.about)} if event.about in offers else set())
        else:
            if event.has not in labels and len(labels) < 2:  # noqa: PLR2004  (the one shown, and another one)
                labels.append(event.has)
            keys = {("label", event.has)} if event.has in labels else set()
            keys |= {("took", event.took)} if event.took in offers else set()
        if keys - found:
            kept.add(index)
        found |= keys
    return frozenset(kept)


def _find_offer(node: NodeState, step: OpenStep) -> ModelOffer | None:
    """The offer of a step, as far as the store still gives it."""
    return next(
        (
            one
            for one in (node.mail.newest, node.mail.last)
            if one and step.date > 0 and one.date == step.date
        ),
        None,
    )


def _is_withdrawn(node: NodeState, step: OpenStep) -> bool:
    own = _find_offer(node, step)
    return own is not None and own.is_withdrawn and not own.is_taken


def _withdraw(nodes: tuple[NodeState, ...], which: tuple[int, ...]) -> tuple[NodeState, ...]:
    def withdraw(node: NodeState) -> NodeState:
        newest = node.mail.newest
        if newest is None or newest.is_taken:
            return node
        return replace_mail(node, newest=newest._replace(is_withdrawn=True))

    return tuple(withdraw(node) if index in which else node for index, node in enumerate(nodes))


def _withdraw_needless(node: NodeState, step: OpenStep) -> NodeState:
    """The node without the offer of a step whose effect it shows already, unless it took that."""
    newest = node.mail.newest
    if newest is None or newest.is_taken or newest.is_undo or step.date <= 0 or newest.date != step.date:
        return node
    return replace_mail(node, newest=newest._replace(is_withdrawn=True))


def _close_offer(node: NodeState) -> NodeState:
    newest = node.mail.newest
    if newest is None or newest.is_taken or newest.is_closed:
        return node
    return replace_mail(node, newest=newest._replace(is_closed=True))


def _make_overdue(node: NodeState) -> NodeState:
    """The node with the offers overdue that may be: one that was not taken closes before."""
    newest = node.mail.newest
    if newest is not None and not newest.is_taken and not newest.is_closed and not newest.is_withdrawn:
        return node
    if all(step.is_overdue or step.state is StepState.INTENDED for step in node.steps):
        return node
    steps = tuple(
        step if step.state is StepState.INTENDED else step._replace(is_overdue=True) for step in node.steps
    )
    late = node._replace(steps=steps)
    # A mail is out of date long before an offer is overdue.
    silent = any(
        step.state is StepState.OFFERED and not step.is_overdue and not step.heard for step in node.steps
    )
    return replace_mail(late, old=len(node.mail.log)) if silent else late


def _note_end(
    node: NodeState, step: OpenStep, *, was_sent: bool = True, is_refused: bool = False
) -> NodeState:
    """The node's attempts after a step has failed."""
    if step.change.is_undo or node.purpose != step.change.after:
        return node
    if not was_sent:
        left = node.attempts - 1
        return node._replace(attempts=left, purpose=node.purpose if left else NOTHING)
    return node._replace(is_refused=is_refused)
