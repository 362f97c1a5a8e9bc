"""A pass over nodes that poll, write by write, as a part of the model of offers.

It does what `rollout` does with nodes that poll: it settles the open steps by reading, withdraws offers that
a newer revision replaces, opens a wave, journals the intent of each step, records its offer and its outcome,
closes the wave, or rejects the revision, withdraws, and offers the way back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from reconciler.core.attempts import MOST_ATTEMPTS
from reconciler.core.fields import resolve_amount
from reconciler.core.observation import Observed, Present, Unreachable
from reconciler.core.offers import choose_last_modified
from reconciler.core.polled_model import BEFORE, NOTHING, ModelOffer, OfferedChange, PolledModel
from reconciler.core.step_status import StepStatus
from reconciler.core.wave_state import WaveState, assess_wave
from reconciler.modelcheck.explore import Transition
from reconciler.modelcheck.offer_nodes import (
    NOW,
    compact_node,
    find_open_offer,
    go_to,
    is_withdrawn,
    make_date,
    name_offer,
    note_end,
    replace_mail,
    set_node,
    withdraw_needless,
    withdraw_untaken,
)
from reconciler.modelcheck.offer_state import (
    NodeState,
    OfferRules,
    OfferState,
    OpenStep,
    PassState,
    Return,
    Stage,
    StepState,
)

Move: TypeAlias = Transition[OfferState]


@dataclass(slots=True)
class _PlanReading:
    """What a reading of all nodes shows: nodes by their indices."""

    steps: list[OfferedChange] = field(default_factory=list)
    superseded: set[int] = field(default_factory=set)
    pending: set[int] = field(default_factory=set)
    planned: set[int] = field(default_factory=set)
    retried: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)


class OfferPass:
    """The transitions of a pass.

    Args:
        model: the product's.
        rules: of the rollout.
    """

    def __init__(self, model: PolledModel, rules: OfferRules) -> None:
        self._model, self._rules = model, rules

    def settle_steps(self, state: OfferState) -> Move:
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
                node = withdraw_needless(node, step)
                broken = broken or self._find_false_outcome(step.change, node)
            elif verdict.is_final:
                node = note_end(node, step, is_refused=True)
            else:
                own, node = self._settle_offer(node, step)
                kept += [own] if own else []
        if len(done) > 1:
            broken = f"{self._model.names[index]} counts as having two different contents at once"
        return compact_node(node._replace(steps=tuple(kept))), broken

    def _settle_offer(self, node: NodeState, step: OpenStep) -> tuple[OpenStep | None, NodeState]:
        """The step of an offer that shows no effect, as far as it stays open."""
        own = find_open_offer(node, step)
        if own is None and step.state is StepState.INTENDED:
            return None, note_end(node, step, was_sent=False)
        if not step.is_overdue:
            return step._replace(state=StepState.OFFERED), node
        if own is None or own.is_taken or step.state is StepState.UNKNOWN:
            return step._replace(state=StepState.UNKNOWN), node
        if step.heard:
            return None, note_end(node, step, was_sent=False)
        return step._replace(state=StepState.UNKNOWN), note_end(node, step, was_sent=False)

    def _find_false_outcome(self, change: OfferedChange, node: NodeState) -> str:
        # It may have loaded something else since it was heard.
        if change.after == BEFORE or change.after in node.loaded:
            return ""
        return f"{self._model.names[change.node]} counts as done, although it never had its content"

    def continue_pass(self, state: OfferState, now: PassState) -> Iterator[Move]:
        """The next write of a pass that is under way; two where a gate may fail."""
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
        withdrawn = state._replace(nodes=withdraw_untaken(state.nodes, now.superseded))
        return Transition("older offers are withdrawn", go_to(withdrawn, now, Stage.END_WITHDRAWN))

    def _end_superseded(self, state: OfferState, now: PassState) -> Move:
        """End the steps of older offers that their nodes had not taken; others stay open."""
        nodes = list(state.nodes)
        for index in now.superseded:
            node = nodes[index]
            kept = []
            for step in node.steps:
                own = find_open_offer(node, step)
                is_open = step.state is StepState.OFFERED and not step.is_overdue
                if not is_open or step.change.is_undo or (own is not None and own.is_taken):
                    kept.append(step)
            nodes[index] = compact_node(node._replace(steps=tuple(kept)))
        ended = state._replace(nodes=tuple(nodes))
        stage = Stage.RETURN if state.owed else Stage.RUN
        return Transition("the steps of withdrawn offers end", go_to(ended, now, stage))

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
            after = go_to(state, now, Stage.REJECT)
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
                return f"{name} may take {name_offer(newest)}, although revision {now.revision} is applied"
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
        intended = go_to(set_node(state, change.node, own), now, Stage.OFFER)
        return Transition(f"the intent of the offer to {name} is written", intended, broken)

    def _offer(self, state: OfferState, now: PassState, change: OfferedChange, then: Stage) -> Move:
        """Record an offer: untaken ones are withdrawn, and its date is later than all before."""
        node, name = state.nodes[change.node], self._model.names[change.node]
        mail = node.mail
        earlier = max((one.date for one in (mail.newest, mail.last) if one), default=0)
        chosen = choose_last_modified(NOW, make_date(earlier) if earlier else None, make_date(node.asked))
        date = max(1, int((chosen - NOW).total_seconds()))
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
        after = go_to(set_node(state, change.node, compact_node(own)), now, then)
        return Transition(f"{name} is offered {name_offer(offer)}", after, broken)

    def _conclude(self, state: OfferState, now: PassState) -> Move:
        change = now.wave[0]
        name, node = self._model.names[change.node], state.nodes[change.node]
        if self._model.judge(change, node.mail).status is StepStatus.DONE:
            node = withdraw_needless(node, node.steps[-1])
            left = tuple(step for step in node.steps if step.change != change)
            ended = set_node(state, change.node, node._replace(steps=left))
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
        return set_node(state, change.node, node._replace(steps=steps))

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
            yield Transition("a gate of the wave fails", go_to(hit, now, Stage.REJECT))
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
            "the revision is rejected", go_to(after, now._replace(goes_on=False), Stage.RETURN), broken
        )

    def _withdraw_wave(self, state: OfferState, now: PassState) -> Move:
        assert state.owed is not None
        due = tuple(index for index in state.owed.nodes if self._may_have_offer(state, index))
        nodes = withdraw_untaken(state.nodes, due)
        after = go_to(state._replace(nodes=nodes), now._replace(superseded=due), Stage.END_WAVE)
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
            kept = [step for step in node.steps if not is_withdrawn(node, step)]
            nodes[index] = compact_node(node._replace(steps=tuple(kept)))
            last = node.mail.last
            if last is None or last.is_undo or last.revision != state.owed.revision:
                continue
            change = OfferedChange(index, last.former, last.content)
            if self._rules.returns and not self.has_failed(change, node):
                back = self._model.undo(change, last)
                undo += [back] if back is not None else []
        ended = state._replace(nodes=tuple(nodes))
        if state.is_suspended:
            return Transition("the wave ends, and the way back waits", self._end_return(ended, now))
        return Transition("the wave ends", self._go_back(ended, now._replace(undo=tuple(undo))))

    def has_failed(self, change: OfferedChange, node: NodeState) -> bool:
        """Whether a node reported that it could not load an offer, and shows no change."""
        verdict = self._model.judge(change, node.mail)
        return verdict.is_final and verdict.status not in {StepStatus.DONE, StepStatus.CHANGED}

    def _go_back(self, state: OfferState, now: PassState) -> OfferState:
        return go_to(state, now, Stage.UNDO if now.undo else Stage.NARROW)

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
            broken = f"{name} may still take {name_offer(newest)}, which was rejected"
            return "" if newest.is_withdrawn else broken
        change = OfferedChange(index, newest.former, newest.content)
        if newest.former == NOTHING or self.has_failed(change, node):
            return ""
        return f"{name} has taken {name_offer(newest)}, which was rejected, and is not offered the way back"

    def _end_return(self, state: OfferState, now: PassState) -> OfferState:
        if not now.goes_on:
            return state._replace(under_way=None)
        return go_to(state, now, Stage.RUN)

    def _intend_undo(self, state: OfferState, now: PassState) -> Move:
        change = now.undo[0]
        node = state.nodes[change.node]
        step = OpenStep(change, now.revision, StepState.INTENDED)
        own = node._replace(steps=(*node.steps, step))
        name = self._model.names[change.node]
        after = go_to(set_node(state, change.node, own), now, Stage.UNDO_OFFER)
        return Transition(f"the intent of the way back of {name} is written", after)
