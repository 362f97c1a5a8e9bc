"""The way back from a delivery: what it carries, when it is done, and when there is none."""

from dataclasses import replace

import pytest

from reconciler.core.diff import Change, Op
from reconciler.core.observation import Absent, Observed, Present
from reconciler.core.plan import Effect, Inverse, Payload, Risk, Step
from reconciler.core.secret import Secret, reveal
from reconciler.core.step import Standing
from reconciler.drivers.m2.arguments import Checkout, Upload
from reconciler.drivers.m2.content import Contents
from reconciler.drivers.m2.judge import judge
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import Loaded
from reconciler.drivers.m2.undo import back

CONTENTS = Contents()


def content(version, **more):
    return CONTENTS.of({"meta": {"version": version}, "functions": {}, **more})


OLD, NEW = content("1", note="old-password"), content("2", note="new-password")
CARRIED = Payload({"meta": {"version": "2"}, "note": Secret("new-password", "${env:NOTE}")})
DELIVERY = Upload(
    bases=("http://127.0.0.1:10040",),
    addresses=("127.0.0.1",),
    before=OLD.fingerprint,
    after=NEW.fingerprint,
    restart=(),
    resources={},
    setting_version="2",
    timeout=5,
    connect=3,
    payload="d",
    part="settingFile",
)
STEP = Step(
    id="edge/n1/upload",
    cluster="edge",
    node="n1",
    action="upload",
    arguments=DELIVERY,
    reason="differs",
    effect=Effect.HOT,
    risk=Risk.LOW,
    risk_reason="",
    needs="",
    inverse=Inverse("deliver version 1 again", "upload"),
)


def undone(step=STEP, loaded=None, carried=CARRIED):
    return back(step, loaded or Loaded(OLD), {"d": carried})


def test_what_the_node_showed_is_delivered_with_its_secrets_marked():
    step, payloads = undone()
    (payload,) = payloads.values()
    assert step.arguments.payload in payloads
    assert reveal(payload.document) == OLD.document
    assert isinstance(payload.document["note"], Secret)
    assert (step.arguments.before, step.arguments.after) == (NEW.fingerprint, OLD.fingerprint)
    assert (step.arguments.setting_version, step.reason) == ("1", "gives back version 1 that it had")
    assert "old-password" not in repr(step)


@pytest.mark.parametrize(
    ("loaded", "standing"),
    [
        (Loaded(NEW), Standing.READY),
        (Loaded(OLD), Standing.DONE),
        # in effect is what was, but the next restart would bring what failed
        (Loaded(OLD, asked=NEW.fingerprint), Standing.READY),
        (Loaded(OLD, asked=OLD.fingerprint), Standing.DONE),
        (Loaded(content("3")), Standing.CHANGED),
    ],
)
def test_the_way_back_is_done_once_nothing_else_waits(loaded, standing):
    step, _ = undone()
    assert judge(step, Present(loaded)).standing is standing


def test_files_that_did_not_change_are_delivered_again():
    files = {"certs/a.pem": b"pem"}
    digests = {"certs/a.pem": "4ba3"}
    step = replace(STEP, arguments=replace(DELIVERY, resources=digests))
    carried = replace(CARRIED, resources=files)
    _, payloads = undone(step, Loaded(OLD, held=digests), carried)
    assert next(iter(payloads.values())).resources == files
    assert undone(step, Loaded(OLD, held={"certs/a.pem": "other"}), carried) is None
    assert undone(step, Loaded(OLD), carried) is None


def test_what_cannot_be_told_for_sure_is_not_tried():
    moved = replace(STEP, changes=(Change("/env/management/api/port", Op.REPLACE, 10040, 10041),))
    waiting = replace(STEP, arguments=replace(DELIVERY, restart=("env.network.http.recvBufferSize",)))
    assert undone(moved) is None
    assert undone(waiting, Loaded(OLD, waiting=None)) is None
    assert undone(waiting, Loaded(OLD, waiting=())) is not None


def test_a_node_that_had_no_setting_has_no_way_back():
    assert DRIVER.undo(STEP, Observed({"n1": Absent("404")}), {"d": CARRIED}) is None
    assert DRIVER.undo(STEP, Observed({"n1": Present(Loaded(OLD))}), {"d": CARRIED}) is not None


def test_a_setting_that_the_nodes_pulled_is_given_back_by_upload():
    arguments = {key: value for key, value in DELIVERY.plain().items() if key not in {"payload", "part"}}
    pulled = replace(STEP, action="checkout", arguments=Checkout.load({**arguments, "method": "GET"}))
    step, payloads = back(pulled, Loaded(OLD), {})
    assert (step.action, step.arguments.part) == ("upload", "settingFile")
    assert "method" not in step.arguments.plain()
    assert next(iter(payloads.values())).document == OLD.document
