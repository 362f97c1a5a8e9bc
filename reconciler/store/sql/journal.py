"""Writes runs, intents and outcomes, each in one transaction."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from reconciler.core import attempts, retention
from reconciler.core.canonical import encode_canonical
from reconciler.core.fleet_matching import HOST
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan, Step
from reconciler.core.timestamps import format_timestamp
from reconciler.errors import ReservedMeanwhile, StateError, SuspendedMeanwhile
from reconciler.exit_status import ExitStatus
from reconciler.ports.store import RunStart, StepEnd
from reconciler.store.sql import facts, history, outbox
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.memory import WINDOW
from reconciler.store.sql.reservations import read_reservation_ids
from reconciler.store.sql.transaction import Transaction

IDLE_SHARE = 5
"""One in so many of the kept runs may be idle: refused or waiting again and again, without a step sent."""


@dataclass(frozen=True, slots=True)
class EncodedPlan:
    """A plan as it is stored, made before the transaction: others would wait seconds for a large one.

    Args:
        digest: of the plan.
        text: the plan, compressed.
        exact: what its steps need beside that, encrypted; None for nothing.
    """

    digest: str
    text: bytes
    exact: bytes | None


def encode_plan(plan: Plan, key: HostKey) -> EncodedPlan:
    """The plan as it is stored."""
    exact = {step.id: own for step in plan.steps() if (own := step.arguments.exact_values())}
    sealed = key.encrypt(zlib.compress(encode_canonical(exact))) if exact else None
    return EncodedPlan(plan.digest, zlib.compress(plan.encode()), sealed)


def begin_run(
    tx: Transaction, opening: RunStart, name: Callable[[], str], encoded: EncodedPlan, *, keep: int
) -> str:
    """Write a run with all its steps open, and delete runs beyond `keep`; gives the id of the run."""
    number, run = _insert(tx, opening, name, encoded)
    tx.execute_many(
        "INSERT INTO step (run, position, id, cluster, node) VALUES (?, ?, ?, ?, ?)",
        [
            (number, position, step.id, step.cluster, step.node)
            for position, step in enumerate(opening.plan.steps())
        ],
    )
    if encoded.exact is not None:
        tx.execute("INSERT INTO exact (run, sealed) VALUES (?, ?)", (number, encoded.exact))
    _prune(tx, keep)
    return run


def write_refusal(
    tx: Transaction, opening: RunStart, note: str, name: Callable[[], str], encoded: EncodedPlan, *, keep: int
) -> str:
    """Write a run that ended before its first step; the same refusal again only renews its time."""
    # A watch is refused the same plan at each interval: one row each would push useful runs out of the
    # history.
    last = tx.execute(
        "SELECT id, number, digest, note, exit_status FROM run WHERE fleet = ? ORDER BY number DESC LIMIT 1",
        (tx.fleet,),
    ).fetchone()
    refusal = (encoded.digest, note, ExitStatus.REFUSED)
    if last and (last["digest"], last["note"], last["exit_status"]) == refusal:
        tx.execute("UPDATE run SET finished = ? WHERE number = ?", (tx.timestamp, last["number"]))
        return str(last["id"])
    _, run = _insert(tx, opening, name, encoded)
    finish_run(tx, run, ExitStatus.REFUSED, note)
    _prune(tx, keep)
    return run


def write_intent(
    tx: Transaction,
    run: str,
    step: Step,
    *,
    fence: Callable[[Transaction], None],
    new_facts: Mapping[str, str],
    reserved: frozenset[str] | None,
    despite_suspension: bool,
) -> None:
    """Write that a step is about to be performed.

    Args:
        tx: the transaction.
        run: that performs the step.
        step: to perform.
        fence: raises `RunFenced` if a later run holds the cluster of the step.
        new_facts: facts of the node that are true from now on, such as one more attempt.
        reserved: ids of the reservations of the cluster that the step was judged with; None if they do not
            concern it.
        despite_suspension: whether the step may be sent although its cluster is suspended by command.

    Raises:
        RunFenced: a later run holds the cluster.
        SuspendedMeanwhile: the cluster, or every cluster, is suspended.
        ReservedMeanwhile: there are other reservations by now.
        StateError: the run is not in the journal, so the step must not be performed.
    """
    # Compared in the transaction that writes the intent: a check before it would leave a gap in which a later
    # run begins. The lock alone is not enough, because somebody may have removed its file.
    number, fleet, has_acted = _read_run(tx, run)
    tx = tx.for_fleet(fleet)
    fence(tx)
    # So that no host begins a call after `reconcile suspend` has returned.
    if not despite_suspension and (scope := facts.find_suspension(tx, step.cluster)):
        raise SuspendedMeanwhile(f"nothing was sent: {scope} suspended meanwhile [suspended]")
    # In the same transaction, too: a question that gets its yes after the judgement would else not count.
    if reserved is not None and not read_reservation_ids(tx, step.cluster) <= reserved:
        raise ReservedMeanwhile(f"a node of {step.cluster} was reserved meanwhile; nothing was sent")
    facts.write_facts(tx, step.cluster, step.arguments.facts_of_intent)
    if not has_acted:
        tx.execute("UPDATE run SET acted = TRUE WHERE number = ?", (number,))
    facts.write_facts(tx, step.cluster, {step.node: step.arguments.used_confirmations})
    # A call whose answer is lost may still take effect until then, and other plans take it into account.
    until = tx.now + timedelta(seconds=max(step.in_flight, step.settle))
    changed = tx.execute(
        "UPDATE step SET intended = ?, until = ? WHERE id = ? AND run = ?",
        (tx.timestamp, format_timestamp(until), step.id, number),
    )
    if changed.rowcount != 1:
        raise StateError(
            f"run {run} is no longer in the journal",
            remedy="run again; no step was performed without a journal entry",
        )
    facts.write_facts(tx, step.cluster, {step.node: new_facts})


def write_outcomes(tx: Transaction, run: str, endings: Sequence[StepEnd]) -> None:
    """Write outcomes with their facts and messages."""
    # In one transaction: a kill in between must not lose a message, nor send it without its outcome.
    number, fleet, _ = _read_run(tx, run)
    tx = tx.for_fleet(fleet)
    for ending in endings:
        outcome, step = ending.outcome, ending.outcome.step
        tx.execute(
            "UPDATE step SET ended = ?, state = ?, reason = ?, seconds = ?, answer = ?, restart = ?,"
            " until = ? WHERE id = ? AND run = ?",
            (
                tx.timestamp,
                outcome.state.value,
                outcome.reason,
                outcome.seconds,
                ending.answer,
                json.dumps(outcome.waiting_for_restart),
                format_timestamp(ending.until) if ending.until else None,
                step.id,
                number,
            ),
        )
        if _ends_facts(outcome):
            withdrawn = {node: dict.fromkeys(own, "") for node, own in step.arguments.facts_of_intent.items()}
            facts.write_facts(tx, step.cluster, withdrawn)
        if outcome.state is State.DONE:
            facts.write_facts(tx, step.cluster, {step.node: {**ending.facts, **ending.used_confirmations}})
        _close_attempt(tx, number, outcome)
        if (message := ending.outbox_message) is not None:
            tx.execute(
                "INSERT INTO message (id, run, step, created, body, wanted)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                (message.id, number, step.id, tx.timestamp, message.body, message.wanted),
            )


def _ends_facts(outcome: Outcome) -> bool:
    """Whether the facts of a step's intent are not true any more."""
    if not outcome.step.arguments.keeps_facts_until_done:
        return outcome.state is State.FAILED  # it had no effect
    return outcome.state is State.DONE or (outcome.state is State.FAILED and not outcome.sent)


def end_superseded_steps(tx: Transaction, found: Sequence[tuple[int, str]]) -> None:
    """Write the end of steps that nothing can settle any more; see `Store.end_superseded`."""
    tx.execute_many(
        "UPDATE step SET state = ?, reason = 'superseded; before that: ' || reason, until = NULL"
        " WHERE run = ? AND id = ? AND state IN ('unknown', 'offered')",
        [(State.SUPERSEDED.value, *one) for one in found],
    )


def _read_run(tx: Transaction, run: str) -> tuple[int, int, bool]:
    """The number of a run, its fleet, and whether it has sent something; zeros if the journal has it not."""
    row = tx.execute("SELECT number, fleet, acted FROM run WHERE id = ?", (run,)).fetchone()
    return (row["number"], row["fleet"], bool(row["acted"])) if row else (0, HOST, False)


def _close_attempt(tx: Transaction, run: int, outcome: Outcome) -> None:
    """Write how the last attempt of a step ended; success resets the counter, mostly."""
    step, key = outcome.step, attempts.make_attempt_key(outcome.step)
    if step.is_undo:
        return  # a rollback step: it says nothing about the attempts of the step itself
    known = facts.read_fact(tx, step.cluster, step.node, key)
    if not known:
        return
    if outcome.state not in {State.DONE, State.FOUND, State.FAILED}:
        # An offer that its node never took: the attempt was counted with its intent.
        intended = tx.execute(
            "SELECT 1 FROM step WHERE run = ? AND id = ? AND intended IS NOT NULL",
            (run, step.id),
        ).fetchone()
        if outcome.sent or outcome.state not in {State.UNKNOWN, State.SKIPPED} or not intended:
            return
        left = attempts.note_failure(known, outcome)
    else:
        is_failed = outcome.state is State.FAILED
        left = attempts.note_failure(known, outcome) if is_failed else attempts.note_success(known, outcome)
    facts.write_facts(tx, step.cluster, {step.node: {key: left}})


def finish_run(tx: Transaction, run: str, exit_status: int, note: str) -> None:
    """Write the end of a run."""
    tx.execute(
        "UPDATE run SET finished = ?, exit_status = ?, note = ? WHERE id = ?",
        (tx.timestamp, exit_status, note, run),
    )


def _insert(
    tx: Transaction, opening: RunStart, name: Callable[[], str], encoded: EncodedPlan
) -> tuple[int, str]:
    run = name()
    # Two runs of one second may draw the same letters.
    while tx.execute("SELECT 1 FROM run WHERE id = ?", (run,)).fetchone():
        run = name()
    plan: Plan = opening.plan
    revision = plan.revision
    (number,) = tx.execute(
        'INSERT INTO run (id, "trigger", source, revision, short, title, program, digest, plan, started,'
        " fleet, actor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
        (
            run,
            opening.trigger,
            revision.source,
            revision.id,
            revision.short,
            revision.title,
            plan.program,
            encoded.digest,
            encoded.text,
            tx.timestamp,
            tx.fleet,
            opening.actor.encode(),
        ),
    ).fetchone()
    return number, run


def _prune(tx: Transaction, keep: int) -> None:
    """Keep the newest runs of a fleet; idle ones go before those that sent something.

    Runs that are still needed stay: open ones, those with an unsettled step or an undelivered message, and
    those with changes that count for a budget.
    """
    _delete_runs(tx, "NOT acted AND fleet = ?1", max(1, keep // IDLE_SHARE))
    _delete_runs(tx, "fleet = ?1", keep)


def _delete_runs(tx: Transaction, which: str, keep: int) -> None:
    """Delete runs that match a condition and are not needed, beyond the newest `keep` of them."""
    recent = "SELECT number FROM run WHERE fleet = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?5"
    oldest = f"SELECT number FROM run WHERE {which} ORDER BY number DESC LIMIT 1 OFFSET ?2"  # noqa: S608
    tx.execute(
        f"DELETE FROM run WHERE {which} AND finished IS NOT NULL AND number <= ({oldest})"  # noqa: S608
        f" AND number NOT IN (SELECT run FROM ({history.UNKNOWN}) AS own)"
        f" AND number NOT IN (SELECT run FROM message WHERE {outbox.DUE.replace('?', '?3')})"
        " AND number NOT IN (SELECT run FROM step WHERE (state IS NULL OR state IN ('unknown', 'offered'))"
        " AND intended IS NOT NULL AND (state IS NULL OR until > ?4))"
        f" AND NOT (acted AND number > coalesce(({recent}), 0)"
        " AND EXISTS (SELECT 1 FROM step WHERE step.run = run.number AND step.intended >= ?6))",
        (
            tx.fleet,
            keep,
            outbox.REFUSALS,
            tx.timestamp,
            retention.COUNTED,
            format_timestamp(tx.now - WINDOW),
        ),
    )
