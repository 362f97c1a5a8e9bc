"""Delivery: at least once, in order, without ever holding up or failing a run."""

import asyncio

import pytest
from support.outboxes import MemoryMessage, MemoryOutbox
from support.waiting import wait_until

from reconciler.core.entries import FeedbackEntry
from reconciler.errors import NodeUnreachable
from reconciler.feedback import sender
from reconciler.feedback.http_sink import HttpSink
from reconciler.feedback.sender import MessageSender
from reconciler.ports.transport import Http, HttpAnswer

ENTRY = FeedbackEntry(url="http://user:password@127.0.0.1:9/feedback?token=secret", timeout=5)


class Line(Http):
    """A wire to a sink that answers from a list; the last answer stays."""

    def __init__(self, *answers):
        self.answers = list(answers) or [200]
        self.calls: list[tuple[str, bytes, dict]] = []

    async def send(self, method, url, *, node, timeout, headers=None, content=b""):
        await asyncio.sleep(0)
        self.calls.append((f"{method} {url}", content, dict(headers or {})))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, int):
            return HttpAnswer(answer, {}, b"")
        raise NodeUnreachable(node, answer)


class SlowLine(Line):
    """A sink that accepts the connection and never answers."""

    async def send(self, *_, **__):
        await asyncio.Event().wait()


async def carry(box, line, entry=ENTRY, pauses=(0, 0)):
    async with MessageSender(
        box, entry and HttpSink(line, entry.url, entry.timeout), pauses=pauses
    ) as message_sender:
        return await asyncio.wait_for(message_sender.finish(), 5)


async def test_every_message_arrives_once_in_order_as_json_with_its_id():
    box, line = MemoryOutbox(120), Line(200)
    assert await carry(box, line) == ()
    assert box.delivered == [one.id for one in box.messages]
    where, content, headers = line.calls[0]
    assert where == f"POST {ENTRY.url}"
    assert content == b'{"number": 1}'
    assert headers == {"Content-Type": "application/json", "Idempotency-Key": "id-1"}
    assert len(line.calls) == 120


async def test_runs_at_the_same_time_deliver_every_message_once_and_in_order():
    box, line = MemoryOutbox(60), Line(200)
    assert await asyncio.gather(*(carry(box, line) for _ in range(5))) == [()] * 5
    assert [headers["Idempotency-Key"] for _, _, headers in line.calls] == [one.id for one in box.messages]


async def test_a_message_is_delivered_while_the_run_goes_on():
    box, line = MemoryOutbox(), Line(204)
    async with MessageSender(box, HttpSink(line, ENTRY.url, 5)) as message_sender:
        box.messages.append(MemoryMessage(1))
        message_sender.wake()
        await wait_until(lambda: box.delivered)
        assert await message_sender.finish() == ()


async def test_what_is_written_at_the_very_end_is_still_delivered():
    box, line = MemoryOutbox(1), Line(200)
    async with MessageSender(box, HttpSink(line, ENTRY.url, 5)) as message_sender:
        await wait_until(lambda: box.delivered)
        box.messages.append(MemoryMessage(2))
        assert await message_sender.finish() == ()
    assert box.delivered == ["id-1", "id-2"]


@pytest.mark.parametrize("trouble", ["connection refused", 500, 503, 429, 408])
async def test_a_sink_with_a_temporary_error_is_tried_again(trouble):
    box, line = MemoryOutbox(2), Line(trouble, trouble, 200)
    assert await carry(box, line) == ()
    assert box.delivered == ["id-1", "id-2"]
    assert [headers["Idempotency-Key"] for _, _, headers in line.calls] == ["id-1"] * 3 + ["id-2"]


async def test_a_sink_that_is_down_is_reported_without_its_secrets():
    box, line = MemoryOutbox(5), Line("connection refused")
    (finding,) = await carry(box, line)
    assert finding.code == "feedback-undelivered"
    assert finding.message == (
        "5 feedback messages still wait for the sink http://127.0.0.1:9/feedback: connection refused"
    )
    assert "secret" not in str(finding)
    assert "password" not in str(finding)
    assert box.delivered == []
    assert {outbox_message for outbox_message, _, _ in box.errors} == {"id-1"}
    assert [refused for _, _, refused in box.errors if refused] == []
    assert len(line.calls) <= 6


async def test_a_sink_that_comes_back_by_the_end_of_the_run_gets_everything():
    box, line = MemoryOutbox(2), Line("no", "no", "no", 200)
    async with MessageSender(box, HttpSink(line, ENTRY.url, 5), pauses=(0, 0)) as message_sender:
        await wait_until(lambda: box.errors)
        assert await message_sender.finish() == ()
    assert box.delivered == ["id-1", "id-2"]


@pytest.mark.parametrize("status", [400, 404, 413, 302])
async def test_a_refused_message_does_not_hold_up_the_others(status):
    box, line = MemoryOutbox(3), Line(200, status, 200)
    refused, left = await carry(box, line)
    assert refused.code == "feedback-refused"
    assert f"it answered {status}" in refused.message
    assert left.code == "feedback-undelivered"
    assert box.delivered == ["id-1", "id-3"]
    assert box.errors == [("id-2", f"it answered {status}", True)]
    assert len(line.calls) == 3


async def test_a_slow_sink_delays_the_end_for_a_limited_time(monkeypatch):
    monkeypatch.setattr(sender, "FINISH_TIMEOUT", 0.05)
    (finding,) = await carry(MemoryOutbox(1), SlowLine())
    assert finding.code == "feedback-undelivered"
    assert "took longer than" in finding.message


async def test_without_a_sink_nothing_is_sent():
    box, line = MemoryOutbox(3), Line(200)
    assert await carry(box, line, entry=None) == ()
    assert line.calls == []


async def test_a_run_that_breaks_off_leaves_no_task_behind():
    message_sender = MessageSender(MemoryOutbox(1), HttpSink(SlowLine(), ENTRY.url, 5))
    with pytest.raises(RuntimeError):
        async with message_sender:
            raise RuntimeError
    assert message_sender._work is not None
    assert message_sender._work.done()


async def test_a_stop_does_not_wait_for_a_slow_sink_and_the_messages_stay(monkeypatch):
    monkeypatch.setattr(sender, "STOP_TIMEOUT", 0.01)
    box, stop = MemoryOutbox(2), asyncio.Event()
    async with MessageSender(box, HttpSink(SlowLine(), ENTRY.url, 5)) as message_sender:
        finish = asyncio.create_task(message_sender.finish(stop))
        await asyncio.sleep(0)
        stop.set()
        async with asyncio.timeout(10):
            (finding,) = await finish
    assert finding.code == "feedback-undelivered"
    assert "2 feedback messages still wait" in finding.message
    assert "the run was asked to stop" in finding.message
    assert box.delivered == []
