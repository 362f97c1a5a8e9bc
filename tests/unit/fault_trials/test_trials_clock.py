"""The clock that skips waiting: it waits only for work in threads and for calls in flight."""

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.fault_trials.clock import PACE, SkippingLoop, StampClock, count_calls, run_skipping_waits
from reconciler.ports.transport import Http, HttpAnswer, Transports

HOUR = 3600


def test_waits_of_a_day_end_at_once_and_in_order():
    async def work():
        seen = []

        async def after(seconds, name):
            await asyncio.sleep(seconds)
            seen.append(name)

        await asyncio.gather(after(24 * HOUR, "late"), after(1, "soon"), after(HOUR, "later"))
        return seen, asyncio.get_running_loop().time()

    seen, now = run_skipping_waits(work())
    assert seen == ["soon", "later", "late"]
    assert round(now) == 24 * HOUR


def test_no_time_passes_while_a_thread_works():
    async def work():
        loop = asyncio.get_running_loop()
        bound = asyncio.create_task(asyncio.sleep(5))
        await asyncio.to_thread(time.sleep, 0.02)
        early = bound.done(), loop.time()
        bound.cancel()
        return early

    assert run_skipping_waits(work()) == (False, 0.0)


def test_an_exception_of_a_thread_is_raised():
    async def work():
        try:
            await asyncio.to_thread(int, "x")
        except ValueError as error:
            return str(error)

    assert "invalid literal" in run_skipping_waits(work())


def test_an_executor_that_was_shut_down_is_told_at_once():
    async def work():
        executor = ThreadPoolExecutor()
        executor.shutdown()
        asyncio.get_running_loop().run_in_executor(executor, time.time)

    with pytest.raises(RuntimeError, match="after shutdown"):
        run_skipping_waits(work())


class Echo(Http):
    """A wire whose answers come through a pipe of this process."""

    async def send(self, method, url, **_):
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        came = loop.create_future()
        loop.add_reader(reading, lambda: came.done() or came.set_result(None))
        os.write(writing, b"x")
        await asyncio.wait_for(came, 10)
        loop.remove_reader(reading)
        os.close(reading)
        os.close(writing)
        return HttpAnswer(200, {}, b"")


class Silent(Http):
    """A wire that never answers."""

    async def send(self, method, url, *, timeout, **_):
        await asyncio.wait_for(asyncio.Event().wait(), timeout)


async def call(wire):
    loop = asyncio.get_running_loop()
    ways = count_calls(Transports(wire), loop)
    try:
        answer = await ways.http.send("GET", "http://x/", node="x", timeout=30)
    except TimeoutError:
        return "timed out", loop.time()
    return answer.status, loop.time()


def test_an_answered_call_takes_the_pace_and_no_timeout():
    assert run_skipping_waits(call(Echo())) == (200, PACE)


def test_an_unanswered_call_ends_with_its_timeout():
    words, now = run_skipping_waits(call(Silent()))
    assert (words, round(now)) == ("timed out", 30)


def test_a_call_to_another_process_is_waited_for_in_real_time():
    async def work():
        loop = asyncio.get_running_loop()
        loop.calling(1)
        loop.call_later(0.05, loop.calling, -1)
        await asyncio.sleep(0.05)
        await asyncio.sleep(HOUR)

    began = time.monotonic()
    run_skipping_waits(work(), patience=None)
    assert time.monotonic() - began >= 0.04


def test_every_reading_of_the_clock_is_later_than_the_last():
    async def work():
        stamps = StampClock()
        seen = [stamps() for _ in range(5)]
        await asyncio.sleep(HOUR)
        return [*seen, stamps()]

    seen = run_skipping_waits(work())
    assert seen == sorted(set(seen))
    assert (seen[-1] - seen[0]).total_seconds() > HOUR - 1


def test_the_loop_runs_without_the_clock_too():
    loop = SkippingLoop()
    try:
        assert loop.run_until_complete(asyncio.sleep(0, "done")) == "done"
    finally:
        loop.close()
