"""What happens to one node of the model of offers, and to what the store has of it: pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from reconciler.core.offers import SECOND, Offer, OfferFeed
from reconciler.core.polled_model import NOTHING, MailEvent, ModelMail, ModelOffer
from reconciler.modelcheck.offer_state import (
    ABSURD,
    NO_DATE,
    NodeState,
    OfferState,
    OpenStep,
    PassState,
    Stage,
    StepState,
)

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of every event: dates of offers differ although all are of one second, which is the worst case."""

_LATER: Final = timedelta(hours=1)


def make_offer(offer: ModelOffer) -> Offer:
    """The offer as the program has it, for its own functions."""
    return Offer(
        id=str(offer.date),
        cluster="",
        node="",
        feed=OfferFeed.SETTING,
        run="",
        step="",
        revision="",
        label="",
        last_modified=NOW + offer.date * SECOND,
        opens=NOW,
        closes=NOW if offer.is_closed else NOW + _LATER,
        taken=NOW if offer.is_taken else None,
        withdrawn=offer.is_withdrawn,
    )


def make_date(asked: int) -> datetime | None:
    """The date that a node sends; None if it sends none."""
    if asked == NO_DATE:
        return None
    return NOW + timedelta(days=400) if asked == ABSURD else NOW + asked * SECOND


def name_offer(offer: ModelOffer) -> str:
    """What an offer is, in words."""
    return "the way back" if offer.is_undo else f"revision {offer.revision}"


def set_node(state: OfferState, index: int, node: NodeState) -> OfferState:
    """The state with another state of one node."""
    return state._replace(nodes=(*state.nodes[:index], node, *state.nodes[index + 1 :]))


def go_to(state: OfferState, now: PassState, stage: Stage) -> OfferState:
    """The state with its pass at another stage."""
    return state._replace(under_way=now._replace(stage=stage))


def replace_mail(node: NodeState, **changes: Any) -> NodeState:
    """The node with other mail."""
    return node._replace(mail=node.mail._replace(**changes))


def hear(node: NodeState, event: MailEvent) -> NodeState:
    """The node after one of its calls was stored."""
    steps = node.steps
    if event.is_report and event.about and _is_late(node, event):
        return node
    if not event.is_report:
        steps = tuple(step._replace(heard=step.date > 0) for step in steps)
    heard = replace_mail(node._replace(steps=steps), log=(*node.mail.log, event))
    return compact_node(heard)


def _is_late(node: NodeState, event: MailEvent) -> bool:
    """Whether a report is about an earlier offer than one that was reported, or is there already."""
    return any(
        one.is_report
        and (one.about > event.about or (event.about > 0 and one._replace(has=event.has) == event))
        for one in node.mail.log
    )


def compact_node(node: NodeState) -> NodeState:
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


def find_open_offer(node: NodeState, step: OpenStep) -> ModelOffer | None:
    """The offer of a step, as far as the store still gives it."""
    return next(
        (
            one
            for one in (node.mail.newest, node.mail.last)
            if one and step.date > 0 and one.date == step.date
        ),
        None,
    )


def is_withdrawn(node: NodeState, step: OpenStep) -> bool:
    """Whether the offer of a step was withdrawn before it was taken."""
    own = find_open_offer(node, step)
    return own is not None and own.is_withdrawn and not own.is_taken


def withdraw_untaken(nodes: tuple[NodeState, ...], which: tuple[int, ...]) -> tuple[NodeState, ...]:
    """All nodes, some of them without the offer that they have not taken."""

    def withdraw(node: NodeState) -> NodeState:
        newest = node.mail.newest
        if newest is None or newest.is_taken:
            return node
        return replace_mail(node, newest=newest._replace(is_withdrawn=True))

    return tuple(withdraw(node) if index in which else node for index, node in enumerate(nodes))


def withdraw_needless(node: NodeState, step: OpenStep) -> NodeState:
    """The node without the offer of a step whose effect it shows already, unless it took that."""
    newest = node.mail.newest
    if newest is None or newest.is_taken or newest.is_undo or step.date <= 0 or newest.date != step.date:
        return node
    return replace_mail(node, newest=newest._replace(is_withdrawn=True))


def close_offer(node: NodeState) -> NodeState:
    """The node after the time of an offer that it has not taken."""
    newest = node.mail.newest
    if newest is None or newest.is_taken or newest.is_closed:
        return node
    return replace_mail(node, newest=newest._replace(is_closed=True))


def make_overdue(node: NodeState) -> NodeState:
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


def note_end(
    node: NodeState, step: OpenStep, *, was_sent: bool = True, is_refused: bool = False
) -> NodeState:
    """The node's attempts after a step has failed."""
    if step.change.is_undo or node.purpose != step.change.after:
        return node
    if not was_sent:
        left = node.attempts - 1
        return node._replace(attempts=left, purpose=node.purpose if left else NOTHING)
    return node._replace(is_refused=is_refused)
