"""Lints of a whole fleet: where they show, what spans clusters, and what the fleet file silences."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from support.fleet_files import REVISION, Memory

from reconciler.desired.fleet import load_fleet, read_fleet
from reconciler.diagnostic import Severity
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import InputError
from reconciler.ports.source import Snapshot

REASON = "meant so here"
USER = {"name": "user", "permissions": {}}


def setting(members: Sequence[str] = (), roles=(USER,), **server):
    allowed = [{"addr": "192.0.2.1", "role": "user"}]
    cluster = {"discover": {"members": list(members)}} if members else {}
    management = {"api": {"allowList": allowed}, "roles": list(roles), "cluster": cluster, "server": server}
    return json.dumps({"env": {"management": management}}, indent=1)


IDLE = setting(roles=[USER, {"name": "idle", "permissions": {}}])


def edge(name, file, *hosts, **more):
    nodes = [{"name": f"{name}-{host.rpartition('.')[2]}", "address": host} for host in hosts]
    return {"name": name, "kind": "m2", "setting": file, "nodes": nodes, **more}


def read(files, clusters, ignore=(), **top):
    lint = {"lint": {"ignore": list(ignore)}} if ignore else {}
    fleet = json.dumps({**lint, "clusters": clusters, **top}, indent=1)
    return read_fleet(Snapshot(REVISION, Memory({"fleet.json": fleet, **files})), DRIVERS)


def lint(files, clusters, ignore=(), **top):
    """(code, position's file, pointer) of every warning, of a fleet without errors."""
    found = read(files, clusters, ignore, **top)
    assert found.fleet is not None
    assert found.fleet.warnings == found.problems
    assert [each for each in found.problems if each.severity is not Severity.WARNING] == []
    return [(each.code, each.position.file, each.pointer) for each in found.problems]


A = edge("a", "a.json", "10.0.0.1")
B = edge("b", "b.json", "10.0.1.1")
ROLE = "/env/management/roles/1/name"
MEMBERS = '"cluster": {"discover": {"members": ["10.0.0.1"]}}'
MEMBER = "/env/management/cluster/discover/members"


def ignored(code, target=""):
    return {"code": code, "reason": REASON, **({"target": target} if target else {})}


def test_a_product_s_lints_are_the_fleet_s_warnings():
    assert lint({"a.json": IDLE}, [A]) == [("unused-role", "a.json", ROLE)]
    assert lint({"a.json": setting()}, [A]) == []


def test_one_place_is_reported_once_for_all_clusters_and_nodes():
    clusters = [edge("a", "a.json", "10.0.0.1", "10.0.0.2"), edge("b", "a.json", "10.0.1.1")]
    assert lint({"a.json": IDLE}, clusters) == [("unused-role", "a.json", ROLE)]


def test_a_lone_settings_file_is_scanned():
    found = read_fleet(
        Snapshot(REVISION, Memory({"setting.json": IDLE.replace('"cluster": {}', MEMBERS)})), DRIVERS
    )
    assert found.fleet is not None
    assert [(each.code, str(each.position)) for each in found.fleet.warnings] == [
        ("unused-role", str(found.fleet.document.position(ROLE)))
    ]
    assert found.problems == found.fleet.warnings


class TestSilencing:
    @pytest.mark.parametrize("target", ["", "a", "edge/a.json", "edge/*.json", "**/*.json"])
    def test_by_code_for_all_for_a_cluster_or_for_files(self, target):
        cluster = edge("a", "edge/a.json", "10.0.0.1")
        assert lint({"edge/a.json": IDLE}, [cluster], [ignored("unused-role", target)]) == []

    @pytest.mark.parametrize("target", ["b", "a-1", "a.yaml", "*.yaml", "other/a.json"])
    def test_an_entry_for_another_target_is_unused_and_the_warning_stays(self, target):
        assert lint({"a.json": IDLE}, [A], [ignored("unused-role", target)]) == [
            ("unused-ignore", "fleet.json", "/lint/ignore/0"),
            ("unused-role", "a.json", ROLE),
        ]

    def test_for_one_of_the_clusters_that_share_a_file_it_stays_for_the_other(self):
        clusters = [A, edge("b", "a.json", "10.0.1.1")]
        assert lint({"a.json": IDLE}, clusters, [ignored("unused-role", "a")]) == [
            ("unused-role", "a.json", ROLE)
        ]

    def test_an_entry_for_another_lint_silences_nothing(self):
        assert lint({"a.json": IDLE}, [A], [ignored("wide-entry")]) == [
            ("unused-ignore", "fleet.json", "/lint/ignore/0"),
            ("unused-role", "a.json", ROLE),
        ]

    def test_for_an_unknown_code_the_nearest_is_suggested(self):
        found = read({"a.json": IDLE}, [A], [ignored("unused-roles")])
        (unknown, _) = found.problems
        assert (unknown.code, unknown.pointer) == ("unknown-lint", "/lint/ignore/0/code")
        assert unknown.position == found.fleet.document.position(unknown.pointer)
        assert unknown.remedy == "did you mean `unused-role`?"

    def test_for_an_unknown_code_all_codes_are_listed(self):
        (unknown, _) = read({"a.json": IDLE}, [A], [ignored("zzz")]).problems
        assert "backup-without-hostname, clear-secret" in unknown.remedy

    def test_a_reason_is_needed(self):
        (error, _) = read({"a.json": IDLE}, [A], [{"code": "unused-role"}]).problems
        assert (error.severity, error.pointer) == (Severity.ERROR, "/lint/ignore/0/reason")


class TestWithErrors:
    def test_warnings_are_reported_beside_errors(self):
        found = read({"a.json": IDLE}, [A, {**A, "name": "c"}])
        assert [each.code for each in found.problems] == ["duplicate-node", "unused-role"]

    def test_a_cluster_with_parts_left_out_is_not_linted(self):
        nodes = [{"name": f"n{n}@192.0.2.{n}", "api": f"http://192.0.2.{n}/"} for n in (1, 2, 3)]
        nodes[2]["api"] = "nowhere"
        found = read({}, [{"name": "live", "kind": "sora", "nodes": nodes}])
        assert [each.severity for each in found.problems] == [Severity.ERROR]

    def test_an_entry_is_not_called_unused_if_something_was_left_out(self):
        found = read({}, [A], [ignored("unused-role")])
        assert [each.code for each in found.problems] == ["no-such-file"]

    def test_loading_fails_with_the_errors_alone(self):
        fleet = json.dumps({"clusters": [A, {**A, "name": "c"}]})
        with pytest.raises(InputError) as caught:
            load_fleet(Snapshot(REVISION, Memory({"fleet.json": fleet, "a.json": IDLE})), DRIVERS)
        assert [each.code for each in caught.value.problems] == ["duplicate-node"]


class TestMembersOfTwoClusters:
    def test_an_address_in_the_settings_of_both(self):
        files = {"a.json": setting(["10.0.0.1", "10.0.0.2"]), "b.json": setting(["10.0.1.1", "10.0.0.2"])}
        found = read(files, [A, B])
        (shared,) = found.problems
        assert (shared.code, shared.pointer) == ("shared-member", f"{MEMBER}/1")
        assert shared.position == found.fleet.cluster_inputs[1].documents["b-1"].position(f"{MEMBER}/1")
        there = found.fleet.cluster_inputs[0].documents["a-1"].position(f"{MEMBER}/1")
        assert shared.message == (
            f"10.0.0.2:9900 is a member of two clusters, `b` and `a` (there at {there})"
        )

    def test_several_are_one_warning(self):
        files = {"a.json": setting(["10.0.0.1", "10.0.0.2", "10.0.0.3"])}
        (shared,) = read(files, [A, edge("b", "a.json", "10.0.1.1")]).problems
        assert "10.0.0.1:9900 and 2 more are members of two clusters" in shared.message
        assert "on the same line" in shared.message

    def test_members_of_one_cluster_by_two_files(self):
        files = {"a.json": setting(["10.0.0.1"]), "b.json": setting(["10.0.0.1"])}
        nodes = [*A["nodes"], {"name": "n", "address": "10.0.0.9", "setting": "b.json"}]
        assert lint(files, [{**A, "nodes": nodes}]) == []

    def test_other_addresses(self):
        files = {"a.json": setting(["10.0.0.1"]), "b.json": setting(["10.0.0.1:9901"])}
        assert lint(files, [A, B]) == []

    def test_silenced_for_either_cluster(self):
        files = {"a.json": setting(["10.0.0.1"]), "b.json": setting(["10.0.0.1"])}
        for name in ("a", "b"):
            assert lint(files, [A, B], [ignored("shared-member", name)]) == []


CONNECTION = {"name": "aws", "type": "awssdk3", "info": {"secretAccessKey": "hunter2"}}
CLEAR = "/env/management/server/connection/0/info/secretAccessKey"


class TestSecretsInClear:
    def test_in_settings(self):
        assert lint({"a.json": setting(connection=[CONNECTION])}, [A]) == [("clear-secret", "a.json", CLEAR)]

    def test_in_an_overlay_though_a_later_one_replaces_it(self):
        over = [{"merge": {"env": {"password": "hunter2"}}}, {"merge": {"env": {"password": "${env:PW}"}}}]
        assert lint({"a.json": setting()}, [{**A, "overlays": over}]) == [
            ("clear-secret", "fleet.json", "/clusters/0/overlays/0/merge/env/password")
        ]

    def test_in_the_fleet_file(self):
        feedback = {"url": "http://m2:hunter2@127.0.0.1/"}
        assert lint({"a.json": setting()}, [A], feedback=feedback) == [
            ("clear-secret", "fleet.json", "/feedback/url")
        ]

    def test_in_a_resource_but_not_in_one_that_was_encrypted(self):
        key = "-----BEGIN PRIVATE KEY-----\n"
        clusters = [{**A, "resources": ["certs/*"]}]
        assert lint({"a.json": setting(), "certs/k.pem": key}, clusters) == [
            ("clear-secret", "certs/k.pem", "")
        ]

        class Opens:
            def decrypt(self, name, data):
                return key.encode()

        files = {
            "fleet.json": json.dumps({"clusters": clusters}),
            "a.json": setting(),
            "certs/k.pem.age": "x",
        }
        found = read_fleet(Snapshot(REVISION, Memory(files)), DRIVERS, Opens())
        assert found.fleet.cluster_inputs[0].resources == {"certs/k.pem": key.encode()}
        assert found.problems == ()

    @pytest.mark.parametrize("target", ["a", "site.json"])
    def test_silenced_for_a_cluster_that_uses_the_file_or_for_the_file(self, target):
        files = {"a.json": setting(), "site.json": '{"password": "hunter2"}'}
        clusters = [{**A, "overlays": ["./site.json"]}]
        assert lint(files, clusters) == [("clear-secret", "site.json", "/password")]
        assert lint(files, clusters, [ignored("clear-secret", target)]) == []


def test_a_window_with_a_day_of_the_month_and_a_weekday_is_warned_of_and_can_be_silenced():
    files = {"setting.json": setting()}
    first = {"cron": "0 2 1-7 * TUE", "duration": "2h"}
    own = edge("own", "setting.json", "192.0.2.2", windows=[{"cron": "0 2 13 * FRI", "duration": "2h"}])
    clusters = [edge("edge", "setting.json", "192.0.2.1"), own]
    found = [
        each for each in read(files, clusters, windows=[first]).problems if each.code == "day-or-weekday"
    ]
    found.sort(key=lambda each: len(each.pointer))
    assert [(each.pointer, each.remedy.partition(",")[0]) for each in found] == [
        ("/windows/0/cron", "for that weekday of the month only"),
        ("/clusters/1/windows/0/cron", "if only one of them is meant"),
    ]
    assert "`* * TUE#1`" in found[0].remedy
    ignore = [{"code": "day-or-weekday", "target": "edge", "reason": REASON}]
    left = read(files, clusters, ignore, windows=[first]).problems
    assert [each.pointer for each in left if each.code == "day-or-weekday"] == ["/clusters/1/windows/0/cron"]


def test_a_null_of_a_merge_that_removes_nothing_of_any_node_is_a_warning():
    files = {
        "a.json": setting(),
        "b.json": IDLE,
        "over.json": '{"env": {"managment": null, "x": {"y": null}}}',
    }
    both = [{**A, "overlays": ["over.json"]}, {**B, "overlays": ["over.json"]}]
    assert [one for one in lint(files, both) if one[0] == "idle-removal"] == [
        ("idle-removal", "over.json", "/env/managment"),
        ("idle-removal", "over.json", "/env/x/y"),
    ]
    (first, _) = [one for one in read(files, both).problems if one.code == "idle-removal"]
    assert first.remedy == "did you mean `management`?"
    silenced = [ignored("idle-removal", "a")]
    assert [one for one in lint(files, [both[0]], silenced) if one[0] == "idle-removal"] == []
    # It removes something of one node, so that it is right for the others.
    files["a.json"] = json.dumps({**json.loads(setting()), "env": {"managment": 1, "x": {"y": 1}}})
    assert [one for one in read(files, both).problems if one.code == "idle-removal"] == []
