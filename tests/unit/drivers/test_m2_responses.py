"""What a node answers to a change: the first names that wait for a restart, and a count."""

import json

from reconciler.drivers.m2 import responses
from reconciler.ports.transport import HttpAnswer


def test_sixty_thousand_names_that_wait_for_a_restart_are_the_first_few_and_a_count():
    listed = [{"field": f"env.network.f{index}", "cur": 0, "new": 1} for index in range(60_000)]
    body = json.dumps({"status": "OK", "result": "accepted", "notupdated": [*listed, 5, {"field": [1]}]})
    done = responses.read_answer("edge-01", "/setting/upload", HttpAnswer(200, {}, body.encode()))
    assert len(done.waiting_for_restart) == 11
    assert done.waiting_for_restart[0] == "env.network.f0"
    assert done.waiting_for_restart[-1] == "and 59,990 more"
    assert len(done.text) <= 320


def test_an_unreadable_answer_is_plain_text():
    for body in (b"[" * 100_000, b"9" * 100_000, b'{"notupdated": {"a": 1}}', b"\xff\xfe"):
        assert (
            responses.read_answer("edge-01", "/setting/upload", HttpAnswer(200, {}, body)).waiting_for_restart
            == ()
        )
