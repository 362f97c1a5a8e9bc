"""Exploration sees every state once, and tells the shortest way to what is wrong."""

from reconciler.modelcheck.explore import Transition, explore_states


def jugs(state: tuple[int, int]):
    """Two jugs of 3 and 5 litres: the classic whose shortest answer is known to have six moves."""
    small, big = state
    poured, back = min(small, 5 - big), min(big, 3 - small)
    for story, following in (
        ("fill small", (3, big)),
        ("fill big", (small, 5)),
        ("empty small", (0, big)),
        ("empty big", (small, 0)),
        ("small to big", (small - poured, big + poured)),
        ("big to small", (small + back, big - back)),
    ):
        yield Transition(story, following, "four litres" if 4 in following else "")


def test_the_shortest_story_is_told():
    explored = explore_states([(0, 0)], jugs)
    assert explored.broken == "four litres"
    assert len(explored.story) == 6
    state = (0, 0)
    for story in explored.story:
        state = next(move.state for move in jugs(state) if move.story == story)
    assert 4 in state


def test_every_state_is_seen_once():
    def counter(value: int):
        yield Transition("on", (value + 1) % 10)
        yield Transition("twice", (value * 2) % 10)

    explored = explore_states([0], counter)
    assert (explored.states, explored.moves, explored.complete) == (10, 20, True)


def test_the_bound_is_said():
    explored = explore_states([0], lambda value: [Transition("on", value + 1)], most=100)
    assert not explored.complete
    assert not explored.broken
