"""The trigger: no reason is lost, and a burst causes one pass."""

import asyncio

from reconciler.server.triggers import Trigger


async def test_a_trigger_before_the_wait_is_not_lost():
    trigger = Trigger()
    trigger.fire("poll")
    trigger.fire("webhook")
    trigger.fire("poll")
    assert await trigger.wait(0) == {"poll", "webhook"}


async def test_a_reason_is_given_once():
    trigger = Trigger()
    trigger.fire("poll")
    await trigger.wait(0)
    assert await trigger.wait(0) == frozenset()


async def test_without_a_trigger_there_is_no_reason():
    assert await Trigger().wait(0.01) == frozenset()


async def test_a_trigger_ends_the_wait():
    trigger = Trigger()
    waiting = asyncio.create_task(trigger.wait(60))
    await asyncio.sleep(0)
    trigger.fire("revision")
    assert await waiting == {"revision"}


async def test_a_burst_is_given_once_with_all_its_reasons():
    trigger = Trigger(window=0.05, limit=60)
    waiting = asyncio.create_task(trigger.wait(60))
    for reason in ("files", "webhook", "files"):
        await asyncio.sleep(0)
        trigger.fire(reason)
    assert await waiting == {"files", "webhook"}
    assert await trigger.wait(0.1) == frozenset()


async def test_an_endless_burst_ends_at_its_limit():
    now = [0.0]
    trigger = Trigger(window=10, limit=30, clock=lambda: now[0])
    waiting = asyncio.create_task(trigger.wait(60))
    for moment in (0.0, 9.0, 18.0, 27.0, 30.0):  # each trigger falls within the window of the one before
        assert not waiting.done()
        now[0] = moment
        trigger.fire("files")
        for _ in range(3):
            await asyncio.sleep(0)
    assert await asyncio.wait_for(waiting, 5) == {"files"}


async def test_at_once_ends_a_burst():
    trigger = Trigger(window=600, limit=600)
    waiting = asyncio.create_task(trigger.wait(60))
    trigger.fire("files")
    await asyncio.sleep(0)
    trigger.fire("stop", at_once=True)
    assert await asyncio.wait_for(waiting, 5) == {"files", "stop"}
