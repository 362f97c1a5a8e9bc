"""A signal ends a run soon, whatever it waits for; threads that hang hold nothing up."""

import asyncio
import os
import signal
import threading
import time

import pytest

from reconciler.host import aio
from reconciler.host.aio import Interrupted, defer_first_signal


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def test_a_run_gives_what_its_work_gives_and_restores_the_signals():
    before = signal.getsignal(signal.SIGTERM)

    async def work():
        assert signal.getsignal(signal.SIGTERM) is not before
        return 7

    assert aio.run_until_signal(work()) == 7
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", aio.SIGNALS)
def test_a_signal_cancels_the_work_and_waits_for_its_end(number):
    ended = []

    async def work():
        send(number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # a child process is killed and waited for
            ended.append("well")

    with pytest.raises(Interrupted) as caught:
        aio.run_until_signal(work())
    assert caught.value.number == number
    assert ended == ["well"]


def test_the_first_signal_can_be_deferred_and_the_next_one_cancels():
    async def work():
        deferred = asyncio.Event()
        with defer_first_signal(deferred.set):
            send()
            await deferred.wait()
            send(signal.SIGHUP)
            await asyncio.Event().wait()

    with pytest.raises(Interrupted) as caught:
        aio.run_until_signal(work())
    assert caught.value.number == signal.SIGHUP


def test_a_second_signal_breaks_off_what_blocks_the_event_loop():
    async def work():
        send()
        threading.Timer(0.05, send).start()
        time.sleep(60)

    began = time.monotonic()
    with pytest.raises(Interrupted):
        aio.run_until_signal(work())
    assert time.monotonic() - began < 30


def test_a_signal_that_was_ignored_at_the_start_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def work():
        send(signal.SIGHUP)
        await asyncio.sleep(0)  # enough for a handler, if there were one: it runs before the next step
        return "went on"

    try:
        assert aio.run_until_signal(work()) == "went on"
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_blocked_thread_does_not_delay_the_end():
    go_on = threading.Event()

    async def work():
        asyncio.get_running_loop().call_later(0.02, send)
        await asyncio.to_thread(go_on.wait, 60)

    began = time.monotonic()
    with pytest.raises(Interrupted):
        aio.run_until_signal(work())
    assert time.monotonic() - began < 30
    go_on.set()


def test_threads_are_bounded_in_number_used_again_and_raise_what_their_calls_raise():
    running, most, lock = 0, 0, threading.Lock()

    def count():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1

    def fail():
        raise KeyError("x")

    async def work():
        await asyncio.gather(*(asyncio.to_thread(count) for _ in range(200)))
        with pytest.raises(KeyError):
            await asyncio.to_thread(fail)
        return await asyncio.to_thread(lambda: "value")

    assert aio.run_until_signal(work()) == "value"
    assert 1 <= most <= aio.THREADS
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("call-")]
    assert len(names) <= 3 * aio.THREADS


def test_elsewhere_than_in_the_main_thread_it_runs_without_signals():
    found = []
    thread = threading.Thread(target=lambda: found.append(aio.run_until_signal(asyncio.sleep(0, "done"))))
    thread.start()
    thread.join(30)
    assert found == ["done"]
