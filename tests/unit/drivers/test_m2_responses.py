"""What a node answers to a change: the first names that wait for a restart, and a count."""

import json

import pytest

from reconciler.drivers.m2 import responses
from reconciler.ports.transport import HttpAnswer


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (b'{"version":"1.1.0","method":"reloadall","status":"OK","result":"accepted"}', "1.1.0"),
        (b'{"version":110,"status":"OK"}', ""),
        (b'{"status":"OK"}', ""),
        (b"OK", ""),
    ],
)
def test_the_answer_names_the_products_version(body, version):
    answer = responses.read_answer("edge-01", "/setting/upload", HttpAnswer(200, {}, body))
    assert answer.feedback.result_version == version


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
