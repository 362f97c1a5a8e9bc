"""The rules of message v1, each as the product's page has it."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from support.schema_documents import validate_message

from reconciler.drivers.m2.central_server.messages import KINDS

CASES = Path(__file__).parents[2] / "cases/schemas"


def case(name):
    return json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["setting.feed.upload", "setting.feed.checkout", "purge.feed.documented"])
@pytest.mark.parametrize("missing", ["messageVer", "timestamp", "action"])
def test_a_feed_needs_its_parts(name, missing):
    message = case(name)
    del message[missing]
    with pytest.raises(ValidationError):
        validate_message(name.rpartition(".")[0], message)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("setting.feed.upload", {"messageVer": 1}),
        ("setting.feed.upload", {"messageVer": "2"}),
        ("setting.feed.upload", {"timestamp": "13 July 2022"}),
        ("setting.feed.upload", {"action": {"api": "/command/purge"}}),
        ("setting.feed.upload", {"parameters": []}),
        ("setting.feed.upload", {"parameters": [{"url": ""}]}),
        ("setting.feed.checkout", {"parameters": [{"url": "http://a/b.tgz"}]}),
        ("setting.feedback.documented", {"node": {"iplist": []}}),
        ("setting.feedback.documented", {"action": {"api": "/setting/upload"}}),
        ("setting.feedback.documented", {"action": {"api": "/setting/upload", "event": None}}),
        ("setting.feedback.documented", {"parameters": [{"result": {"method": "deploy"}}]}),
        ("setting.feedback.documented", {"setting": []}),
        ("purge.feed.documented", {"action": {"api": "/setting/upload"}}),
        ("purge.feedback.documented", {"parameters": [{"url": "a", "result": None}]}),
        ("heartbeat.feedback.documented", {"node": None}),
        ("nodelist.feedback.documented", {"nodelist": "5.5.5.5"}),
        ("nodelist.feedback.documented", {"hosting": [{"name": "foo.com"}]}),
    ],
)
def test_invalid_values_are_refused(name, change):
    kind = next(kind for kind in KINDS if name.startswith(f"{kind}."))
    validate_message(kind, case(name))
    with pytest.raises(ValidationError):
        validate_message(kind, {**case(name), **change})


@pytest.mark.parametrize(
    "event",
    [
        "/env/management/server/apiPolling/central",
        "/env/management/server/tgzPolling/central",
        "/env/management/server/kafkaSub/myKafka",
        "/_api_/setting/upload",
        "/_sys_/bootup",
        "/_sys_/cli/setting.reload",
        "/env/management/server/apiPolling/",
        "/env/management/server/firestore/central",
    ],
)
def test_an_event_may_have_any_name(event):
    message = case("setting.feedback.documented")
    message["action"]["event"] = event
    assert validate_message("setting.feedback", message).action.event == event


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_keys_are_kept(kind):
    path = next(CASES.glob(f"{kind}.*.json"))
    message = {**json.loads(path.read_text(encoding="utf-8")), "later": {"x": 1}}
    assert validate_message(kind, message).model_dump(by_alias=True, exclude_unset=True) == message
