"""Secrets that are not known here: taken as shown, named once, refused where nobody would put them in."""

import json

import pytest
from support.memory_files import fleet_of

from reconciler.core.observation import Observed, Present
from reconciler.core.secret import Secret
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import LoadedSetting
from reconciler.errors import InputError, SecretError
from reconciler.ports.transport import Transports

CLOUD = {"type": "awssdk3", "info": {"accessKeyId": "AK", "secretAccessKey": "${env:KEY}", "region": "r"}}


def _setting(**custom):
    connections = [{"name": name, **CLOUD} for name in ("b", "a")]
    management = {"server": {"connection": connections}, "api": {"allowList": [{"addr": "127.0.0.1"}]}}
    return {"meta": {"version": "1"}, "env": {"management": management}, "custom": custom}


def _desired(setting, resolver=None, more=""):
    text = (
        "clusters:\n  - name: edge\n    kind: m2\n    setting: s.json\n"
        f"{more}    nodes: [{{name: n, address: 10.0.0.1}}]\n"
    )
    files = {"fleet.yaml": text, "s.json": json.dumps(setting), "k.pem.age": b"x"}
    return DRIVER.desire(fleet_of(files, resolver).cluster_inputs[0])


def _plan(desired, shown, held=None):
    content = ContentCache().read(json.dumps(shown).encode())
    return DRIVER.plan(
        desired, Observed({"n": Present(LoadedSetting(content, "http://10.0.0.1:10040", (), held=held))})
    )


def _shown(**custom):
    text = json.dumps(_setting(**custom))
    return json.loads(text.replace("${env:KEY}", "whatever"))


def test_the_nodes_value_of_an_unknown_secret_counts_as_equal():
    desired = _desired(_setting(note="${env:NOTE}", rows=["${env:NOTE}"]))
    plan = _plan(desired, _shown(note="clear", rows=["other"]))
    assert plan.steps == ()
    found = [finding for finding in plan.findings if finding.code == "secret-unavailable"]
    assert len(found) == 1
    for place in (
        "/custom/note",
        "/custom/rows/0",
        "/env/management/server/connection/0/info/secretAccessKey",
    ):
        assert place in found[0].message


def test_where_the_node_shows_nothing_the_difference_stays():
    plan = _plan(_desired(_setting(note="${env:NOTE}")), _shown())
    (step,) = plan.steps
    assert [change.pointer for change in step.changes] == ["/custom/note"]


def test_other_differences_are_shown_and_earlier_secrets_stay_hidden():
    plan = _plan(_desired(_setting(note="${env:NOTE}", x=1)), _shown(note="clear", x=2))
    (step,) = plan.steps
    assert [change.pointer for change in step.changes] == ["/custom/x"]


async def test_such_a_setting_is_never_sent():
    desired = _desired(_setting(note="${env:NOTE}"))
    plan = _plan(desired, _shown())
    with pytest.raises(SecretError, match="secretAccessKey is not known here"):
        await DRIVER.act(plan.steps[0], Transports(), plan.payloads)


def test_of_an_encrypted_file_only_the_presence_is_checked():
    desired = _desired(_setting(), more="    resources: [k.pem.age]\n")
    assert _plan(desired, _shown(), held={"k.pem": "any"}).steps == ()
    assert len(_plan(desired, _shown(), held={"other": "any"}).steps) == 1


def test_nodes_that_check_out_themselves_would_take_a_reference_literally():
    with pytest.raises(InputError) as caught:
        _desired(_setting(note="${env:NOTE}"), more="    deliver: checkout\n")
    assert {problem.code for problem in caught.value.problems} == {"secret-not-delivered"}
    assert caught.value.problems[-1].position.file == "s.json"


class _Vault:
    def resolve(self, scheme, name):
        return f"new-{name}"


def test_an_earlier_value_at_the_place_of_a_secret_is_hidden():
    plan = _plan(_desired(_setting(note="${env:NOTE}", rows=[{"k": "${env:A}"}]), _Vault()),
                 _shown(note="old-clear", rows=[{"k": "old-one"}, {"k": "old-two"}]))  # fmt: skip
    changes = {change.pointer: change for change in plan.steps[0].changes}
    assert changes["/custom/note"].old == Secret("old-clear")
    assert "old-" not in str([(change.old, change.new) for change in changes.values()])
