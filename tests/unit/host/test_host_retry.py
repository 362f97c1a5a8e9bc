"""Asking again: how often, after which pauses, and when it ends."""

from itertools import islice
from types import SimpleNamespace

import pytest

from reconciler.host import retry
from reconciler.host.retry import make_growing_pauses, make_steady_pauses, poll_until


class Answers:
    """Gives its answers one after another, and notes the pauses between them."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.pauses = []

    async def ask(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def wait(self, pause):
        self.pauses.append(pause)


@pytest.mark.parametrize(
    ("given", "pauses", "last", "waited"),
    [
        ((3,), (1, 2), 3, []),
        ((1, 3), (1, 2), 3, [1]),
        ((1, 2, 3), (1, 2), 3, [1, 2]),
        ((1, 1, 1, 3), (1, 2), 1, [1, 2]),
        ((1,), (), 1, []),
    ],
)
async def test_it_ends_with_the_first_answer_that_is_enough_or_with_the_pauses(given, pauses, last, waited):
    answers = Answers(*given)
    assert await poll_until(answers.ask, lambda answer: answer == 3, pauses, wait=answers.wait) == last
    assert answers.pauses == waited


async def test_an_exception_ends_the_polling():
    answers = Answers(1, OSError("gone"), 3)
    with pytest.raises(OSError, match="gone"):
        await poll_until(answers.ask, lambda answer: answer == 3, (1, 2), wait=answers.wait)
    assert answers.answers == [3]


def test_growing_pauses_double_up_to_the_longest():
    assert list(islice(make_growing_pauses(0.5, 3.0), 5)) == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_steady_pauses_end_with_their_time_counted_from_when_they_were_asked_for(monkeypatch):
    moments = iter([10.0, 10.5, 11.9, 12.0])
    clock = SimpleNamespace(time=lambda: next(moments))
    monkeypatch.setattr(retry.asyncio, "get_running_loop", lambda: clock)
    assert list(make_steady_pauses(0.1, 2.0)) == [0.1, 0.1]
