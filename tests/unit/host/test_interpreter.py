"""Tests of the settings of the interpreter."""

import gc

import pytest

from reconciler.host.interpreter import prepare_interpreter, prepare_long_run

MADE = 300_000
"""Circles of objects, of which each is garbage at once."""


class Circle:
    """An object that only the collection of garbage ends; it counts those that are left."""

    __slots__ = ("own",)
    left = most = 0

    def __init__(self):
        self.own = self
        Circle.left += 1
        Circle.most = max(Circle.most, Circle.left)

    def __del__(self):
        Circle.left -= 1


@pytest.fixture
def thresholds():
    before = gc.get_threshold()
    gc.collect()
    Circle.left = Circle.most = 0
    yield
    gc.set_threshold(*before)
    gc.collect()


@pytest.mark.usefixtures("thresholds")
def test_a_process_that_runs_long_holds_less_garbage_than_a_short_command():
    prepare_interpreter()
    for _ in range(MADE):
        Circle()
    short, Circle.most = Circle.most, 0
    gc.collect()
    prepare_long_run()
    for _ in range(MADE):
        Circle()
    assert Circle.most < 100_000 < short
