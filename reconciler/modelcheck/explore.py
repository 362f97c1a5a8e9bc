"""Exhaustive exploration of a state machine, breadth first: all is well, or the shortest story why not."""

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
        broken: the invariant it breaks, a sentence; empty where all is well.
    """

    story: str
    state: S
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Exploration:
    """What an exploration saw.

    Args:
        states: different states reached.
        moves: moves taken between them.
        depth: moves on the longest of the shortest ways to a state.
        complete: whether every reachable state was seen; False where the bound on states ended it.
        broken: the invariant that does not hold; empty where all hold.
        story: the moves that lead there from a start, no shorter way exists.
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
    """Walk every state that can be reached from `starts`, and stop at the first broken invariant.

    Args:
        starts: initial states.
        moves: what can happen in a state; the same state gives the same moves.
        most: bound on the number of different states.
    """
    came: dict[S, tuple[S, str] | None] = dict.fromkeys(starts)
    layer = list(came)
    taken = depth = 0
    while layer:
        following: list[S] = []
        for state in layer:
            for move in moves(state):
                taken += 1
                if move.broken:
                    story = (*_story(came, state), move.story)
                    return Exploration(
                        len(came), taken, depth, complete=False, broken=move.broken, story=story
                    )
                if move.state not in came:
                    came[move.state] = (state, move.story)
                    following.append(move.state)
            if len(came) > most:
                return Exploration(len(came), taken, depth, complete=False)
        depth += bool(following)
        layer = following
    return Exploration(len(came), taken, depth, complete=True)


def _story(came: dict[S, tuple[S, str] | None], state: S) -> tuple[str, ...]:
    told: list[str] = []
    origin = came[state]
    while origin is not None:
        before, sentence = origin
        told.append(sentence)
        origin = came[before]
    return tuple(reversed(told))


def list_traces(
    start: S, moves: Callable[[S], Iterable[Transition[S]]], *, length: int
) -> Iterator[tuple[S, ...]]:
    """Every way from a state of so many moves, or of fewer where nothing more can happen, as its states.

    States are not told apart by the way that leads to them, as in `explore_states`: what stands outside of
    the model may remember it. Moves that change nothing are left out.
    """
    way = [start]
    left = [_onward(start, moves) if length else iter(())]
    deepest = True
    while left:
        following = next(left[-1], None)
        if following is None:
            if deepest:
                yield tuple(way)
            way.pop()
            left.pop()
            deepest = False
            continue
        way.append(following)
        left.append(_onward(following, moves) if len(way) <= length else iter(()))
        deepest = True


def _onward(state: S, moves: Callable[[S], Iterable[Transition[S]]]) -> Iterator[S]:
    return (move.state for move in moves(state) if move.state != state)
