"""The bell: nothing rung is lost, a burst is answered once."""

import asyncio

from reconciler.server.triggers import Trigger


async def test_ringing_before_anybody_listens_is_not_lost():
    bell = Trigger()
    bell.ring("poll")
    bell.ring("webhook")
    bell.ring("poll")
    assert await bell.heard(0) == {"poll", "webhook"}


async def test_what_was_heard_is_gone():
    bell = Trigger()
    bell.ring("poll")
    await bell.heard(0)
    assert await bell.heard(0) == frozenset()


async def test_silence_gives_no_reason():
    assert await Trigger().heard(0.01) == frozenset()


async def test_a_ring_wakes_the_one_who_waits():
    bell = Trigger()
    waiting = asyncio.create_task(bell.heard(60))
    await asyncio.sleep(0)
    bell.ring("revision")
    assert await waiting == {"revision"}


async def test_a_burst_is_answered_once_with_all_its_reasons():
    bell = Trigger(window=0.05, limit=60)
    waiting = asyncio.create_task(bell.heard(60))
    for reason in ("files", "webhook", "files"):
        await asyncio.sleep(0)
        bell.ring(reason)
    assert await waiting == {"files", "webhook"}
    assert await bell.heard(0.1) == frozenset()


async def test_a_burst_without_end_is_answered_at_its_limit():
    now = [0.0]
    bell = Trigger(window=10, limit=30, clock=lambda: now[0])
    waiting = asyncio.create_task(bell.heard(60))
    for moment in (0.0, 9.0, 18.0, 27.0, 30.0):  # each ring falls within the window of the one before
        assert not waiting.done()
        now[0] = moment
        bell.ring("files")
        for _ in range(3):
            await asyncio.sleep(0)
    assert await asyncio.wait_for(waiting, 5) == {"files"}


async def test_at_once_ends_a_burst():
    bell = Trigger(window=600, limit=600)
    waiting = asyncio.create_task(bell.heard(60))
    bell.ring("files")
    await asyncio.sleep(0)
    bell.ring("stop", at_once=True)
    assert await asyncio.wait_for(waiting, 5) == {"files", "stop"}
