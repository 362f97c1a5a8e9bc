"""Exhaustive exploration of a state machine, breadth first, with the shortest counterexample."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)


class Transition(NamedTuple, Generic[S]):
    """One thing that can happen in a state.

    Args:
        story: what happens, one sentence.
        state: the state after it.
        broken: the invariant it breaks, a sentence; empty if none.
    """

    story: str
    state: S
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Exploration:
    """The result of an exploration.

    Args:
        states: different states reached.
        moves: transitions taken between them.
        depth: transitions on the longest of the shortest traces to a state.
        complete: whether every reachable state was visited; False if the bound on states ended it.
        broken: the invariant that does not hold; empty if all hold.
        story: the transitions from a start to it; no shorter trace exists.
    """

    states: int
    moves: int
    depth: int
    complete: bool
    broken: str = ""
    story: tuple[str, ...] = ()


def explore_states(
    starts: Iterable[S], moves: Callable[[S], Iterable[Transition[S]]], *, most: int = 50_000_000
) -> Exploration:
    """Visit every state that can be reached from `starts`, and stop at the first broken invariant.

    Args:
        starts: initial states.
        moves: what can happen in a state; the same state gives the same moves.
        most: bound on the number of different states.
    """
    # Layer by layer, so that the first broken invariant has a shortest trace. A dict keeps insertion order,
    # so that every run visits the states in the same order and gives the same counterexample.
    came: dict[S, tuple[S, str] | None] = dict.fromkeys(starts)
    layer = list(came)
    taken = depth = 0
    while layer:
        following: list[S] = []
        for state in layer:
            for move in moves(state):
                taken += 1
                if move.broken:
                    story = (*_build_trace(came, state), move.story)
                    return Exploration(
                        len(came), taken, depth, complete=False, broken=move.broken, story=story
                    )
                if move.state not in came:
                    came[move.state] = (state, move.story)
                    following.append(move.state)
            # Checked once for each state, not for each transition: the bound need not be exact.
            if len(came) > most:
                return Exploration(len(came), taken, depth, complete=False)
        depth += bool(following)
        layer = following
    return Exploration(len(came), taken, depth, complete=True)


def _build_trace(came: dict[S, tuple[S, str] | None], state: S) -> tuple[str, ...]:
    trace: list[str] = []
    origin = came[state]
    while origin is not None:
        before, sentence = origin
        trace.append(sentence)
        origin = came[before]
    return tuple(reversed(trace))


def list_traces(
    start: S, moves: Callable[[S], Iterable[Transition[S]]], *, length: int
) -> Iterator[tuple[S, ...]]:
    """Every trace of `length` transitions from a state, or fewer if nothing more can happen, as its states.

    Unlike in `explore_states`, a state is visited again on another trace: what is outside of the model, such
    as the journal, may depend on the trace. Transitions that change nothing are left out.
    """

    def list_next(state: S) -> Iterator[S]:
        return (move.state for move in moves(state) if move.state != state)

    trace = [start]
    left = [list_next(start) if length else iter(())]
    is_end = True
    while left:
        following = next(left[-1], None)
        if following is None:
            if is_end:
                yield tuple(trace)
            trace.pop()
            left.pop()
            is_end = False
            continue
        trace.append(following)
        left.append(list_next(following) if len(trace) <= length else iter(()))
        is_end = True
