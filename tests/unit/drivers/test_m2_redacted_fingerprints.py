"""What plans keep of settings: fingerprints in which no secret counts, while every secret is compared."""

import json

import pytest
from support.memory_files import MemoryFiles

from reconciler.core.observation import Observed, Present
from reconciler.core.plan import Plan, Revision
from reconciler.core.secret import Secret
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.desired_state import make_desired
from reconciler.drivers.m2.planner import plan
from reconciler.drivers.m2.redacted_fingerprints import (
    RedactedFingerprints,
    compute_redacted_digest,
    compute_redacted_fingerprints,
)
from reconciler.drivers.m2.schema import LoadedSetting
from reconciler.drivers.registry import DRIVERS
from reconciler.ports.source import Snapshot


class Vault:
    """Gives one value for each name."""

    def __init__(self, value):
        self.value = value

    def resolve(self, scheme, name):
        return self.value

    def decrypt(self, name, data):
        return self.value.encode()


def planned(value, shows, *, literal="x"):
    """The plan of one node, whose file refers to a secret of this value."""
    node = {"name": "e-1", "address": "10.0.0.1"}
    cluster = {"name": "edge", "kind": "m2", "setting": "s.json", "resources": ["k.pem.age"], "nodes": [node]}
    own = {"note": "${env:RECONCILE_SECRET_X}", "password": literal}
    files = {"fleet.json": {"clusters": [cluster]}, "s.json": {"custom": own}}
    content = {name: json.dumps(one).encode() for name, one in files.items()} | {"k.pem.age": b"cipher"}
    fleet = load_fleet(Snapshot(Revision("m", "1" * 40, "1"), MemoryFiles(content)), DRIVERS, Vault(value))
    desired = make_desired(fleet.cluster_inputs[0])
    loaded = LoadedSetting(ContentCache().of({"custom": shows}), "http://10.0.0.1:10040", held={})
    made = plan(desired, Observed({"e-1": Present(loaded)}))
    return Plan(Revision("m", "1" * 40, "1"), "0", (made,)), desired, loaded


def test_a_plan_is_the_same_whatever_the_secrets_are():
    one, *_ = planned("secret-one", {"note": "old-one", "password": "p-one"}, literal="lit-one")
    two, *_ = planned("secret-two", {"note": "old-two", "password": "p-two"}, literal="lit-two")
    assert one.encode() == two.encode()
    assert one.digest == two.digest
    (mine,), (other,) = one.steps(), two.steps()
    assert mine.arguments.exact_values()["before"] != other.arguments.exact_values()["before"]
    assert mine.arguments.exact_values()["after"] != other.arguments.exact_values()["after"]
    assert mine.arguments.exact_values()["resources"] != other.arguments.exact_values()["resources"]


def test_a_secret_alone_is_a_change_and_is_delivered():
    made, desired, loaded = planned("new-secret", {"note": "old-secret", "password": "x"})
    (step,) = made.steps()
    assert [change.pointer for change in step.changes] == ["/custom/note"]
    assert made.clusters[0].payloads[step.payload].document["custom"]["note"].value == "new-secret"
    assert "old-secret" not in made.encode().decode()
    assert desired.targets[0].content.fingerprint != loaded.content.fingerprint


def test_a_plan_file_reveals_no_secret_of_a_node():
    _, desired, one = planned("s", {"note": "old-one", "a": 1})
    kept = [
        compute_redacted_fingerprints(
            desired,
            Observed({"e-1": Present(LoadedSetting(ContentCache().of({"custom": custom}), one.base))}),
        )
        for custom in ({"note": "old-one", "a": 1}, {"note": "old-two", "a": 1}, {"note": "old-one", "a": 2})
    ]
    assert kept[0] == kept[1] != kept[2]


@pytest.mark.parametrize("owner", ["a", "b"])
def test_the_digest_of_a_payload_reveals_no_secret_and_no_equality(owner):
    literal = [compute_redacted_digest({"password": value}, {}, owner) for value in ("one", "two")]
    assert literal[0] == literal[1] != compute_redacted_digest({"password": "one"}, {}, "c")
    named = [
        compute_redacted_digest({"password": Secret("v", name)}, {}, owner)
        for name in ("${env:A}", "${env:B}")
    ]
    assert named[0] != named[1]
    assert named[0] == compute_redacted_digest({"password": Secret("other", "${env:A}")}, {}, "c")


def test_equal_values_of_a_wanted_and_a_shown_setting_do_not_share_a_fingerprint_by_their_order():
    contents = ContentCache()
    wanted = contents.of({"custom": {"note": Secret("same", "${env:A}")}})
    shown = contents.of({"custom": {"note": "same"}})
    for order in ((wanted, shown), (shown, wanted)):
        made = RedactedFingerprints()
        found = {id(one): made.of(one, wanted) for one in order}
        assert found[id(wanted)] == RedactedFingerprints().of(wanted)
