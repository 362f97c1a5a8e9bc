"""What the receiver takes and what it refuses, asked by clients that are not ours."""

import asyncio
import json

import pytest

from reconciler.feedback.receiver import ReportReceiver
from reconciler.simulation.addresses import find_free_addresses


async def curl(*arguments):
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return int(said)


@pytest.fixture
async def taking():
    (place,) = find_free_addresses(1)
    taken = []
    async with ReportReceiver(str(place), taken.append):
        yield f"http://{place}", taken


async def test_a_message_is_taken_at_any_path_even_with_a_key_that_stands_twice(taking):
    url, taken = taking
    body = '{"messageVer": "1", "node": {"version": "22.02.0", "version": 10}}'
    assert await curl(f"{url}/heartbeat/feedback", "-d", body, "-H", "Content-Type: application/json") == 204
    assert taken == [{"messageVer": "1", "node": {"version": 10}}]


@pytest.mark.parametrize("body", ["", "[]", "{", '"text"', "[" * 100_000])
async def test_what_is_no_object_is_refused(taking, body, tmp_path):
    url, taken = taking
    (tmp_path / "body").write_text(body)
    assert await curl(url, "--data-binary", f"@{tmp_path / 'body'}") == 400
    assert taken == []


async def test_reading_is_refused(taking):
    assert await curl(taking[0]) == 405


async def test_what_is_too_large_is_refused(taking, tmp_path):
    (tmp_path / "body").write_text(json.dumps({"setting": "x" * 17_000_000}))
    assert await curl(taking[0], "--data-binary", f"@{tmp_path / 'body'}", "-H", "Expect:") == 413
    assert taking[1] == []
