"""The way back from a delivery: what it carries, when it is done, and when there is none."""

from dataclasses import replace

import pytest
from support.steps import make_step

from reconciler.core.diff import Change, Op
from reconciler.core.observation import Absent, Observed, Present
from reconciler.core.plan import Inverse, Payload
from reconciler.core.secret import Secret, reveal
from reconciler.core.step_status import StepStatus
from reconciler.drivers.m2.arguments import CheckoutArguments, UploadArguments
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.judge import judge_delivery
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import LoadedSetting
from reconciler.drivers.m2.undo import undo_delivery

CONTENTS = ContentCache()


def content(version, **more):
    return CONTENTS.of({"meta": {"version": version}, "functions": {}, **more})


OLD, NEW = content("1", note="old-password"), content("2", note="new-password")
CARRIED = Payload({"meta": {"version": "2"}, "note": Secret("new-password", "${env:NOTE}")})
DELIVERY = UploadArguments(
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
STEP = make_step("n1", arguments=DELIVERY, inverse=Inverse("deliver version 1 again", "upload"))


def undone(step=STEP, loaded=None, carried=CARRIED):
    return undo_delivery(step, loaded or LoadedSetting(OLD), {"d": carried})


def test_what_the_node_showed_is_delivered_with_its_secrets_marked():
    step, payloads = undone()
    (payload,) = payloads.values()
    assert step.arguments.payload in payloads
    assert reveal(payload.document) == OLD.document
    assert isinstance(payload.document["note"], Secret)
    assert (step.arguments.before, step.arguments.after) == (NEW.fingerprint, OLD.fingerprint)
    assert (step.arguments.setting_version, step.reason) == ("1", "restores version 1")
    assert "old-password" not in repr(step)


@pytest.mark.parametrize(
    ("loaded", "status"),
    [
        (LoadedSetting(NEW), StepStatus.READY),
        (LoadedSetting(OLD), StepStatus.DONE),
        # in effect is what was, but the next restart would bring what failed
        (LoadedSetting(OLD, asked=NEW.fingerprint), StepStatus.READY),
        (LoadedSetting(OLD, asked=OLD.fingerprint), StepStatus.DONE),
        (LoadedSetting(content("3")), StepStatus.CHANGED),
    ],
)
def test_an_undo_is_done_when_nothing_waits_for_a_restart(loaded, status):
    step, _ = undone()
    assert judge_delivery(step, Present(loaded)).status is status


def test_files_that_did_not_change_are_delivered_again():
    files = {"certs/a.pem": b"pem"}
    digests = {"certs/a.pem": "4ba3"}
    step = replace(STEP, arguments=replace(DELIVERY, resources=digests))
    carried = replace(CARRIED, resources=files)
    _, payloads = undone(step, LoadedSetting(OLD, held=digests), carried)
    assert next(iter(payloads.values())).resources == files
    assert undone(step, LoadedSetting(OLD, held={"certs/a.pem": "other"}), carried) is None
    assert undone(step, LoadedSetting(OLD), carried) is None


def test_an_undo_that_cannot_be_verified_is_not_made():
    moved = replace(STEP, changes=(Change("/env/management/api/port", Op.REPLACE, 10040, 10041),))
    waiting = replace(STEP, arguments=replace(DELIVERY, restart=("env.network.http.recvBufferSize",)))
    assert undone(moved) is None
    assert undone(waiting, LoadedSetting(OLD, waiting=None)) is None
    assert undone(waiting, LoadedSetting(OLD, waiting=())) is not None


def test_a_first_setting_cannot_be_undone():
    assert DRIVER.undo(STEP, Observed({"n1": Absent("404")}), {"d": CARRIED}) is None
    assert DRIVER.undo(STEP, Observed({"n1": Present(LoadedSetting(OLD))}), {"d": CARRIED}) is not None


def test_a_checkout_is_undone_by_an_upload():
    arguments = {key: value for key, value in DELIVERY.plain().items() if key not in {"payload", "part"}}
    pulled = replace(
        STEP, action="checkout", arguments=CheckoutArguments.load({**arguments, "method": "GET"})
    )
    step, payloads = undo_delivery(pulled, LoadedSetting(OLD), {})
    assert (step.action, step.arguments.part) == ("upload", "settingFile")
    assert "method" not in step.arguments.plain()
    assert next(iter(payloads.values())).document == OLD.document
