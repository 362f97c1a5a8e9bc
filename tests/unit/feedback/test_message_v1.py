"""Messages v1: what stands in them, what is left out, and which outcomes they are made of."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from support.driver import REVISION, FakeDriver, Wish, World, cluster
from support.schema_documents import validate_message

from reconciler.core.arguments import StepFeedback, TypedArguments
from reconciler.core.observation import Observed, Present
from reconciler.core.outcome import Outcome, State
from reconciler.drivers.m2 import arguments as m2
from reconciler.feedback.message import is_reported, make_message, make_message_id

NOW = datetime(2026, 11, 21, 3, 44, 55, 120_000, tzinfo=UTC)
(BARE,) = FakeDriver(World()).plan(Wish(cluster("c", {"n": "new"})), Observed({"n": Present("old")})).steps


@dataclass(frozen=True, slots=True, eq=False)
class FixedFeedback(TypedArguments):
    """Arguments with this feedback and nothing else."""

    given: StepFeedback

    @property
    def feedback(self):
        return self.given


STEP = replace(BARE, node="edge-01", action="upload", arguments=FixedFeedback(StepFeedback()))


def message_of(state: State = State.DONE, reason: str = "", *, action="upload", restart=(), **feedback):
    step = replace(STEP, action=action, arguments=FixedFeedback(StepFeedback(**feedback)))
    outcome = Outcome(step, state, reason, waiting_for_restart=restart)
    found = make_message(outcome, run="run-1", revision=REVISION, now=NOW)
    validate_message("setting.feedback", found)
    return found


def test_a_success_as_a_whole():
    assert message_of(
        api="/setting/upload",
        setting=("2022-06-21-A",),
        product_version="2.8.1",
        addresses=("10.10.10.1", "10.10.10.2"),
        restart=("/env/network/http",),
    ) == {
        "messageVer": "1",
        "timestamp": "2026-11-21T03:44:55.120Z",
        "node": {
            "hostname": "edge-01",
            "iplist": ["10.10.10.1", "10.10.10.2"],
            "productVer": "2.8.1",
            "settingVer": "2022-06-21-A",
        },
        "userdata": {"source": REVISION.source, "revision": REVISION.id, "run": "run-1"},
        "action": {"api": "/setting/upload", "event": "/_api_/setting/upload"},
        "parameters": [
            {
                "result": {
                    "method": "deploy",
                    "status": "ok",
                    "version": "2022-06-21-A",
                    "notupdated": [{"field": "/env/network/http"}],
                }
            }
        ],
        "setting": None,
    }


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("version", [10, "A", 1.5, None])
def test_every_message_fits_the_format(state, version):
    found = message_of(
        state, "why", setting=(version,), product_version="2.8.1", restart=("env.rt.properties",)
    )
    again = validate_message("setting.feedback", found).model_dump(
        mode="json", by_alias=True, exclude_unset=True
    )
    assert again == found


def test_a_failure_gives_its_reason_and_does_not_claim_the_version():
    found = message_of(State.FAILED, "it said no", setting=(10,))
    assert found["parameters"] == [{"result": {"method": "deploy", "status": "it said no", "version": 10}}]
    assert "settingVer" not in found["node"]


def test_a_failure_without_a_reason_has_its_state_as_status():
    assert message_of(State.UNKNOWN)["parameters"][0]["result"]["status"] == "unknown"


def test_what_the_node_said_of_itself_is_told():
    said = StepFeedback(
        addresses=("10.10.10.2",),
        url="https://central.example/package/o-1.tgz",
        product_version="2.8.1",
        license_id="KR200099999",
        result_version="22.02.0",
        last_modified="Tue, 11 Oct 2022 12:45:26 GMT",
    )
    own = StepFeedback(api="/setting/upload", setting=(10,), addresses=("10.10.10.1",), url="http://a/")
    step = replace(STEP, arguments=FixedFeedback(own))
    found = make_message(Outcome(step, State.DONE, feedback=said), run="r", revision=REVISION, now=NOW)
    validate_message("setting.feedback", found)
    assert found["node"] == {
        "hostname": "edge-01",
        "iplist": ["10.10.10.2"],
        "productVer": "2.8.1",
        "licenseId": "KR200099999",
        "settingVer": 10,
    }
    (parameter,) = found["parameters"]
    assert parameter["url"] == "https://central.example/package/o-1.tgz"
    assert parameter["result"] == {
        "method": "deploy",
        "status": "ok",
        "version": 10,
        "productVersion": "22.02.0",
        "lastModified": "Tue, 11 Oct 2022 12:45:26 GMT",
    }


def test_what_a_node_says_is_masked_and_bounded():
    said = StepFeedback("/a", ("v",), (None, "x\x1b" * 900), "http://hush/", "hush\n2.8", result_version="")
    found = said.redact(lambda text: text.replace("hush", "••"))
    assert (found.api, found.setting, found.url) == ("/a", ("v",), "http://••/")
    assert found.product_version == "•• 2.8"
    assert found.addresses[0] is None
    assert len(found.addresses[1]) == 200
    assert "\x1b" not in found.addresses[1]


def test_the_newer_knowledge_counts_where_there_is_any():
    older, newer = StepFeedback("/a", url="u", product_version="1"), StepFeedback(product_version="2")
    assert older.merge(newer) == StepFeedback("/a", url="u", product_version="2")


def test_what_is_not_known_is_left_out():
    found = message_of()
    assert found["node"] == {"hostname": "edge-01", "iplist": []}
    assert found["parameters"] == [{"result": {"method": "deploy", "status": "ok"}}]


@pytest.mark.parametrize(
    ("action", "arguments", "api"),
    [
        ("upload", {"api": m2.ACTIONS["upload"].api}, "/setting/upload"),
        ("checkout", {"api": m2.ACTIONS["checkout"].api}, "/setting/deploy/checkout"),
        ("local", {"api": m2.ACTIONS["local"].api}, "/setting/deploy/local"),
        ("purge", {"api": "/sora/PurgeClusterNode"}, "/sora/PurgeClusterNode"),
        ("stop", {}, "/stop"),
    ],
)
def test_the_action_names_the_call(action, arguments, api):
    assert message_of(action=action, **arguments)["action"] == {"api": api, "event": f"/_api_{api}"}


def test_the_timestamp_is_in_utc():
    seoul = NOW.astimezone(timezone(timedelta(hours=9)))
    found = make_message(Outcome(STEP, State.DONE), run="r", revision=REVISION, now=seoul)
    assert found["timestamp"] == "2026-11-21T03:44:55.120Z"


def test_one_outcome_of_one_run_has_one_id():
    done, failed = Outcome(STEP, State.DONE), Outcome(STEP, State.FAILED)
    assert make_message_id("r", done) == make_message_id(
        "r", replace(done, reason="said otherwise", seconds=3.0)
    )
    assert len({make_message_id("r", done), make_message_id("s", done), make_message_id("r", failed)}) == 3
    assert make_message_id("r", done).isalnum()


@pytest.mark.parametrize("state", list(State))
def test_only_outcomes_of_steps_that_were_tried_have_a_message(state):
    not_reported = {State.SKIPPED, State.WAITING, State.OFFERED, State.SUPERSEDED, State.UNDONE}
    assert is_reported(Outcome(STEP, state)) is (state not in not_reported)
