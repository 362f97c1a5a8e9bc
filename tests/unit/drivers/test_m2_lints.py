"""M2's lints: each with what sets it off, what nearly does, and the place it points to."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from support.m2_wire import setting

from reconciler.core.plan import Revision
from reconciler.core.secret import Secret
from reconciler.desired.merge_patch import TracedValue, ValueOrigin, apply_merge_patch
from reconciler.diagnostic import Severity
from reconciler.documents.document import parse_document
from reconciler.drivers.m2 import lints
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import M2Cluster
from reconciler.ports.cluster_input import ClusterInput

ADMIN = {"name": "admin", "permissions": {"enableSetting": True, "enableMetric": True}}
USER = {"name": "user", "permissions": {"enableMetric": True}}
OPS = {"name": "ops", "permissions": {"enableRestart": True}}
ROLES = [ADMIN, USER, OPS]
POLL = {"url": "https://m.example.com/s", "schedule": "*/15 * * * * *", "timeout": 5}


def document(management, name="setting.json"):
    return parse_document(name, json.dumps({"env": {"management": management}}, indent=2).encode())


def cluster_input(documents, addresses=("10.0.0.1",)):
    nodes = [{"name": f"n{number}", "address": address} for number, address in enumerate(addresses, 1)]
    entry = M2Cluster.model_validate({"name": "edge", "kind": "m2", "nodes": nodes})
    given = [documents] * len(nodes) if not isinstance(documents, list) else documents
    names = [node["name"] for node in nodes]
    fleet = parse_document("fleet.json", b"{}")
    return ClusterInput(
        entry, fleet, "/clusters/0", Revision("m", "0", "0"), dict(zip(names, given, strict=True))
    )


def lint(management, *addresses):
    """(code, pointer) of every warning; each stands where its pointer says."""
    file = document(management)
    found = list(lints.lint(cluster_input(file, addresses or ("10.0.0.1",))))
    for problem in found:
        assert problem.severity is Severity.WARNING
        assert problem.code in lints.CODES
        assert problem.position == file.position(problem.pointer)
        assert problem.remedy
    short = [(problem.code, problem.pointer.removeprefix("/env/management")) for problem in found]
    assert len(set(short)) == len(short)
    return short


def access(entries, roles=(), **api):
    """Warnings about an allowList of (address, role); the roles are those of the entries, unless given."""
    listed = [{"addr": addr, **({"role": role} if role else {})} for addr, role in entries]
    used = [role for role in ROLES if role["name"] in {name for _, name in entries}]
    return lint({"api": {"allowList": listed, **api}, "roles": list(roles) or used})


def test_the_driver_has_the_lints():
    assert DRIVER.lint_codes == lints.CODES


def test_an_empty_setting_has_nothing_doubtful():
    assert lint({}) == []


@pytest.mark.parametrize("value", [None, 7, "x", [], [7], [[]], {"": 1}, Secret("x"), [None], [{"name": 7}]])
def test_no_value_anywhere_makes_the_lints_fail(value):
    paths = [
        "api", "api/allowList", "api/defaultRole", "api/allowList/0/role", "api/allowList/0/addr",
        "roles", "roles/0/permissions", "roles/0/name", "server", "server/features/setting/feed",
        "server/features/setting/feed/info", "server/features/setting/feed/type",
        "server/features/setting/feed/info/schedule", "server/features/setting/feed/info/timeout",
        "server/events/onSettingLoad/backup", "server/events/onSettingLoad/backup/hostname",
        "server/events/onPurgeRequest/propagation", "server/events/onPurgeRequest/propagation/nodelist",
        "cluster", "cluster/discover", "cluster/discover/port", "cluster/discover/members",
        "cluster/discover/members/0/functions", "cluster/balance", "cluster/balance/mode",
        "cluster/balance/luaPath", "cluster/balance/urlIgnoreList",
    ]  # fmt: skip
    for path in ["", *paths]:
        management = json.loads(json.dumps(FULL))
        part, *rest = ["env", *filter(None, ("management", *path.split("/")))]
        root = {"env": {"management": management}}
        at = root
        for below in rest:
            at, part = at[int(part) if isinstance(at, list) else part], below
        at[int(part) if isinstance(at, list) else part] = value
        file = parse_document("setting.json", b"{}")
        file.value = root
        list(lints.lint(cluster_input(file)))
        list(lints.claims(cluster_input(file)))


FULL = {
    "api": {"allowList": [{"addr": "10.0.0.0/8", "role": "admin"}], "defaultRole": "admin"},
    "roles": [ADMIN],
    "server": {
        "features": {"setting": {"enable": True, "feed": {"type": "apiPolling", "info": POLL}}},
        "events": {
            "onSettingLoad": {"backup": {"enable": True, "hostname": "n1"}},
            "onPurgeRequest": {"propagation": {"enable": True, "nodelist": ["10.0.0.1"]}},
        },
    },
    "cluster": {
        "discover": {"port": 9900, "members": [{"functions": ["all"], "nodes": ["10.0.0.1"]}]},
        "balance": {"mode": "hash", "luaPath": None, "urlIgnoreList": ["#FUNCTION"]},
    },
}


class TestUnusedRole:
    def test_a_role_that_neither_an_entry_nor_the_default_names(self):
        assert access([("10.0.0.1", "admin")], ROLES) == [
            ("unused-role", "/roles/1/name"),
            ("unused-role", "/roles/2/name"),
        ]

    def test_an_entry_without_a_role_uses_the_default(self):
        assert access([("10.0.0.1", "")], [USER], defaultRole="user") == []
        assert access([("10.0.0.1", "")], [ADMIN]) == []
        assert access([("10.0.0.1", "user")], [USER, ADMIN]) == [("unused-role", "/roles/1/name")]

    def test_an_explicit_default_role_counts_as_used(self):
        assert access([("10.0.0.1", "user")], [USER, ADMIN], defaultRole="admin") == []

    def test_without_an_allow_list_there_is_nothing_to_compare_with(self):
        assert lint({"roles": [USER, ADMIN]}) == []


class TestOverlaps:
    @pytest.mark.parametrize(
        ("earlier", "later"),
        [
            (("192.168.1.0/24", "user"), ("192.168.1.5", "admin")),
            (("192.168.1.0/24", "admin"), ("192.168.1.5", "user")),
            (("192.168.1.0/24", "user"), ("192.168.1.1-255", "user")),
            (("192.168.1.5", "user"), ("192.168.1.5", "admin")),
        ],
    )
    def test_an_entry_inside_an_earlier_one_is_shadowed(self, earlier, later):
        assert access([earlier, later]) == [("shadowed-entry", "/api/allowList/1/addr")]

    @pytest.mark.parametrize(
        ("earlier", "later"),
        [
            (("192.168.1.1-100", "admin"), ("192.168.1.50-150", "user")),
            (("192.168.1.1-100", "user"), ("192.168.1.50-150", "user")),
            (("192.168.1.5", "user"), ("192.168.1.0/24", "user")),
            (("192.168.1.5", "user"), ("192.168.1.0/24", "admin")),
        ],
    )
    def test_entries_that_share_addresses(self, earlier, later):
        assert access([earlier, later]) == [("overlapping-entries", "/api/allowList/1/addr")]

    def test_one_host_that_may_more_before_its_network_is_how_it_is_done(self):
        assert access([("192.168.1.5", "admin"), ("192.168.1.0/24", "user")]) == []

    def test_neighbours_share_nothing(self):
        assert access([("192.168.1.0/25", "user"), ("192.168.1.128/25", "admin")]) == []
        assert access([("192.168.1.1-9", "user"), ("192.168.1.10-20", "admin")]) == []

    def test_an_entry_is_reported_once_with_the_first_that_matters(self):
        entries = [("192.168.1.5", "admin"), ("192.168.1.0/25", "user"), ("192.168.1.0/24", "user")]
        assert access(entries) == [("overlapping-entries", "/api/allowList/2/addr")]
        file = document({"api": {"allowList": [{"addr": a, "role": r} for a, r in entries]}})
        (problem,) = lints.lint(cluster_input(file))
        assert "entry 2 (192.168.1.0/25" in problem.message
        assert "share 128 addresses" in problem.message

    def test_a_doubtful_overlap_names_the_undocumented_rule(self):
        entries = [{"addr": "192.168.1.0/24", "role": "user"}, {"addr": "192.168.1.5", "role": "admin"}]
        (problem,) = lints.lint(
            cluster_input(document({"api": {"allowList": entries}, "roles": [ADMIN, USER]}))
        )
        assert "if the first match counts, which the M2 manual leaves open" in problem.message
        assert "never grants enableSetting" in problem.message
        assert problem.remedy == "move it before entry 1"


class TestWideEntry:
    @pytest.mark.parametrize("addr", ["0.0.0.0/0", "10.0.0.0/23", "198.51.100.0/27", "fd00::/48"])
    def test_a_dangerous_role_for_many(self, addr):
        assert access([(addr, "admin")]) == [("wide-entry", "/api/allowList/0/addr")]

    @pytest.mark.parametrize(
        "addr", ["10.0.0.0/24", "198.51.100.0/28", "203.0.113.7", "127.0.0.0/8", "fd00:0:0:1::/64"]
    )
    def test_a_dangerous_role_for_few_or_for_the_node_itself(self, addr):
        assert access([(addr, "admin")]) == []

    def test_reading_may_be_open_to_all(self):
        assert access([("0.0.0.0/0", "user")]) == []

    def test_the_default_role_counts(self):
        assert access([("10.0.0.0/8", "")], [ADMIN]) == [("wide-entry", "/api/allowList/0/addr")]

    def test_a_file_without_roles_has_the_factory_s(self):
        entry = {"addr": "10.0.0.0/8"}
        assert lint({"api": {"allowList": [entry]}}) == [("wide-entry", "/api/allowList/0/addr")]
        assert lint({"api": {"allowList": [{**entry, "role": "user"}]}}) == []

    def test_it_names_the_permissions_and_how_many(self):
        entries = [{"addr": "10.0.0.0/16", "role": "admin"}]
        (problem,) = lints.lint(cluster_input(document({"api": {"allowList": entries}})))
        assert problem.message == (
            'the role "admin" grants enableSetting and enablePurge to 10.0.0.0/16, 65,536 addresses'
        )


class TestWideRole:
    def test_many_narrow_entries_together_are_wide(self):
        entries = [(f"10.0.{number}.0/25", "ops") for number in range(3)]
        assert access(entries) == [("wide-role", "/roles/0/permissions/enableRestart")]
        assert access(entries[:2]) == []

    def test_a_wide_entry_is_reported_at_the_entry_and_at_the_role(self):
        assert access([("10.0.0.0/8", "ops")]) == [
            ("wide-entry", "/api/allowList/0/addr"),
            ("wide-role", "/roles/0/permissions/enableRestart"),
        ]

    def test_a_default_that_restarts_without_any_allow_list(self):
        assert lint({"api": {"defaultRole": "ops"}, "roles": [OPS, USER]}) == [
            ("wide-role", "/roles/0/permissions/enableRestart")
        ]
        assert lint({"api": {"defaultRole": "user"}, "roles": [OPS, USER]}) == []

    def test_a_role_that_restarts_for_two_hosts(self):
        assert access([("10.0.0.1", "ops"), ("10.0.0.2", "ops")]) == []


def groups(*functions, **cluster):
    members = [
        {"nodes": [f"10.0.0.{number}"], **({} if names is ... else {"functions": names})}
        for number, names in enumerate(functions, 1)
    ]
    return lint({"cluster": {"discover": {"members": members}, **cluster}})


MEMBERS = "/cluster/discover/members"
ALL, PLAIN = ["all"], None


class TestGroups:
    def test_the_order_of_the_page_s_own_example(self):
        assert groups(["hyperdims"], ["transcoder", "render"], ALL, PLAIN) == []
        assert groups(ALL, ...) == []

    def test_a_group_behind_all(self):
        assert groups(ALL, ["hyperdims"], PLAIN) == [("hidden-group", f"{MEMBERS}/1/functions")]
        assert groups(ALL, PLAIN, ALL) == [("hidden-group", f"{MEMBERS}/2/functions")]

    def test_all_together_with_a_name_hides_what_follows(self):
        assert groups(["x", "all"], ["y"], PLAIN) == [("hidden-group", f"{MEMBERS}/1/functions")]

    def test_a_group_whose_functions_all_go_to_earlier_ones(self):
        assert groups(["a"], ["b"], ["b", "a"], ALL, PLAIN) == [("hidden-group", f"{MEMBERS}/2/functions")]
        assert groups(["a"], ["b"], ["b", "c"], ALL, PLAIN) == []

    def test_a_second_group_without_functions(self):
        assert groups(ALL, PLAIN, []) == [("hidden-group", f"{MEMBERS}/2")]

    def test_requests_that_no_group_is_for(self):
        assert groups(ALL) == [("unserved-request", MEMBERS)]
        assert groups(PLAIN) == [("unserved-request", MEMBERS)]
        assert groups(["hyperdims"]) == [("unserved-request", MEMBERS)]

    def test_unserved_requests_are_reported(self):
        members = [{"functions": ["hyperdims"], "nodes": ["10.0.0.1"]}]
        (problem,) = lints.lint(cluster_input(document({"cluster": {"discover": {"members": members}}})))
        assert "a request without a function or a function other than hyperdims" in problem.message
        assert problem.remedy == 'add a group without `functions` and a last group for "all"'

    def test_members_that_are_addresses_serve_everything(self):
        assert lint({"cluster": {"discover": {"members": ["10.0.0.1"]}}}) == []

    def test_names_that_differ_in_case(self):
        assert groups(["resize", "Resize"], ["RESIZE"], ALL, PLAIN) == [
            ("function-case", f"{MEMBERS}/0/functions/1"),
            ("function-case", f"{MEMBERS}/1/functions/0"),
        ]
        assert groups(["resize", "resized"], ALL, PLAIN) == []

    def test_all_in_another_case_is_not_all(self):
        assert groups(["All"], PLAIN) == [
            ("unserved-request", MEMBERS),
            ("function-case", f"{MEMBERS}/0/functions/0"),
        ]


class TestHash:
    @pytest.mark.parametrize("text", ["/", "", "http://"])
    def test_a_url_of_which_all_is_left_out(self, text):
        assert lint({"cluster": {"balance": {"mode": "hash", "urlIgnoreList": ["#FUNCTION", text]}}}) == [
            ("hash-without-key", "/cluster/balance/urlIgnoreList/1")
        ]

    def test_a_script_that_is_empty_text(self):
        assert lint({"cluster": {"balance": {"mode": "hash", "luaPath": " "}}}) == [
            ("hash-without-key", "/cluster/balance/luaPath")
        ]

    def test_a_group_that_hashes(self):
        balance = {"mode": "rr", "urlIgnoreList": ["/"]}
        group = {"functions": None, "nodes": ["10.0.0.1"], "balance": {"mode": "hash"}}
        members = [{"functions": ["all"], "nodes": ["10.0.0.2"]}, group]
        cluster = {"balance": balance, "discover": {"members": members}}
        assert lint({"cluster": cluster}) == [("hash-without-key", "/cluster/balance/urlIgnoreList/0")]

    @pytest.mark.parametrize(
        "balance",
        [
            {"mode": "hash"},
            {"mode": "hash", "luaPath": None, "urlIgnoreList": ["proxy", "#FUNCTION"]},
            {"mode": "hash", "luaPath": "/usr/local/m2/script.lua", "urlIgnoreList": ["/"]},
            {"mode": "rr", "luaPath": "", "urlIgnoreList": ["/"]},
        ],
    )
    def test_ways_to_hash_and_no_hash(self, balance):
        assert lint({"cluster": {"balance": balance}}) == []


def backup(**options):
    return lint({"server": {"events": {"onSettingLoad": {"backup": options}}}})


BACKUP = "/server/events/onSettingLoad/backup"


class TestBackup:
    def test_every_node_would_upload(self):
        assert backup(enable=True) == [("backup-without-hostname", f"{BACKUP}/enable")]
        assert backup(enable=True, hostname="") == [("backup-without-hostname", f"{BACKUP}/hostname")]
        assert backup(enable=True, hostname=None) == [("backup-without-hostname", f"{BACKUP}/hostname")]

    def test_one_node_or_none_does(self):
        assert backup(enable=True, hostname="edge-01") == []
        assert backup(enable=False) == []


def polling(feature="setting", side="feed", *, kind="apiPolling", enable=True, **info):
    part = {"enable": enable, side: {"type": kind, "info": {**POLL, **info}}}
    return lint({"server": {"enable": True, "features": {feature: part}}})


class TestPolling:
    @pytest.mark.parametrize(
        ("feature", "side", "kind"),
        [
            ("setting", "feed", "apiPolling"),
            ("setting", "feed", "tgzPolling"),
            ("purge", "feed", "apiPolling"),
            ("heartbeat", "feedback", "apiPolling"),
        ],
    )
    def test_the_next_request_before_the_last_is_over(self, feature, side, kind):
        place = f"/server/features/{feature}/{side}/info/schedule"
        assert polling(feature, side, kind=kind, timeout=16) == [("poll-outruns-timeout", place)]
        assert polling(feature, side, kind=kind, timeout=15) == []

    @pytest.mark.parametrize(
        ("schedule", "gap"),
        [("0,50 * * * * *", 10), ("58,2 * * * * *", 4), ("0 */2 * * * *", 120), ("0 0,1 3 1 1 *", 60)],
    )
    def test_the_shortest_gap_of_the_schedule_counts(self, schedule, gap):
        assert len(polling(schedule=schedule, timeout=gap + 0.5)) == 1
        assert polling(schedule=schedule, timeout=gap) == []

    @pytest.mark.parametrize(
        "options",
        [
            {"enable": False, "timeout": 99},
            {"kind": "kafkaSub", "timeout": 99},
            {"timeout": None},
            {"timeout": True, "schedule": "* * * * * *"},
            {"timeout": 99, "schedule": "* * * * *"},
            {"timeout": 99, "schedule": "x * * * * *"},
        ],
    )
    def test_no_warning_where_nothing_polls_or_the_value_is_invalid(self, options):
        assert polling(**options) == []


def propagation(*nodelist, enable=True):
    return {
        "server": {
            "events": {"onPurgeRequest": {"propagation": {"enable": enable, "nodelist": list(nodelist)}}}
        }
    }


NODELIST = "/server/events/onPurgeRequest/propagation/nodelist"


class TestPropagation:
    def test_a_node_that_is_not_in_its_own_list(self):
        options = propagation("10.0.0.1", "10.0.0.2")
        assert lint(options, "10.0.0.1", "10.0.0.3:10040") == [("propagation-without-self", NODELIST)]
        assert lint(options, "10.0.0.1", "10.0.0.2:10040") == []

    def test_nodes_are_gathered(self):
        addresses = [f"10.0.1.{number}" for number in range(1, 6)]
        (problem,) = lints.lint(cluster_input(document(propagation("10.0.0.1")), addresses))
        assert problem.message.startswith("n1 (10.0.1.1), n2 (10.0.1.2), n3 (10.0.1.3) and 2 more propagate")

    def test_not_switched_on_or_not_known_by_that_address(self):
        assert lint(propagation("10.0.0.1", enable=False), "10.0.0.3") == []
        assert lint(propagation("10.0.0.1"), "edge-01.example.com", "127.0.0.1") == []


def test_a_finding_in_a_shared_base_is_reported_once_at_its_place():
    base = document({"roles": [USER, OPS], "api": {"allowList": [{"addr": "10.0.0.1", "role": "user"}]}})
    overlays = [document({"api": {"port": port}}, f"{port}.json") for port in range(10_000, 10_005)]
    rendered = [
        apply_merge_patch(
            TracedValue(base.value, ValueOrigin(base)), TracedValue(over.value, ValueOrigin(over))
        ).named(base.name)
        for over in overlays
    ]
    found = list(lints.lint(cluster_input(rendered, [f"10.0.0.{number}" for number in range(1, 6)])))
    assert [(str(problem.position), problem.code) for problem in found] == [
        (str(base.position("/env/management/roles/1/name")), "unused-role")
    ]


def test_a_finding_from_an_overlay_has_its_place_in_the_overlay():
    base = document({"roles": [ADMIN], "api": {"allowList": [{"addr": "10.0.0.1", "role": "admin"}]}})
    over = document({"api": {"allowList": [{"addr": "10.0.0.0/8", "role": "admin"}]}}, "site.json")
    made = apply_merge_patch(
        TracedValue(base.value, ValueOrigin(base)), TracedValue(over.value, ValueOrigin(over))
    ).named(base.name)
    (problem,) = lints.lint(cluster_input([base, made], ["10.0.0.1", "10.0.0.2"]))
    assert problem.position == over.position("/env/management/api/allowList/0/addr")
    assert problem.position.file == "site.json"


class TestClaims:
    def named(self, *documents):
        return [
            (claim.name, claim.pointer.rpartition("discover")[2])
            for claim in lints.claims(
                cluster_input(list(documents), [f"10.0.0.{n}" for n, _ in enumerate(documents)])
            )
        ]

    def test_addresses_groups_and_expressions_each_once(self):
        members = ["10.0.0.1", "10.0.0.2:9000", "#aws:vm:tag=edge", "no address"]
        first = document({"cluster": {"discover": {"members": members}}})
        group = {"nodes": ["10.0.0.1", "10.0.0.3"], "functions": ["all"]}
        second = document({"cluster": {"discover": {"port": 9900, "members": [group]}}})
        assert self.named(first, second, first) == [
            ("10.0.0.1:9900", "/members/0"),
            ("10.0.0.2:9000", "/members/1"),
            ("#aws:vm:tag=edge", "/members/2"),
            ("10.0.0.3:9900", "/members/0/nodes/1"),
        ]

    def test_another_port_is_another_member(self):
        file = document({"cluster": {"discover": {"port": 9901, "members": ["10.0.0.1"]}}})
        assert self.named(file) == [("10.0.0.1:9901", "/members/0")]


def test_warnings_of_one_file_come_in_its_order():
    management = {"api": {"allowList": [{"addr": "0.0.0.0/0", "role": "ops"}]}, "roles": [OPS, USER]}
    found = list(lints.lint(cluster_input(document(management))))
    assert len(found) == 3
    assert [(one, other) for one, other in pairwise(found) if one.position >= other.position] == []


def test_features_of_a_server_that_is_not_enabled_do_nothing():
    features = {"setting": {"enable": True}, "purge": {"enable": False}, "heartbeat": {"enable": True}}
    assert lint({"server": {"features": features}}) == [("server-disabled", "/server/features")]


def test_a_script_is_for_hashes_only():
    balance = {"luaPath": "/usr/lib/hash.lua"}
    assert lint({"cluster": {"balance": balance}}) == [("unused-script", "/cluster/balance/luaPath")]
    assert lint({"cluster": {"balance": {**balance, "mode": "hash"}}}) == []
    assert lint({"cluster": {"balance": {"luaPath": None}}}) == []


CLUSTER = "env__management__cluster"


def whole_lints(document):
    file = parse_document("setting.json", json.dumps(document, indent=1).encode())
    return [(problem.code, problem.pointer) for problem in lints.lint(cluster_input(file))]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"hosting": [{"name": "a", "listen": "*:10040"}]}, "/hosting/0/listen"),
        ({"hosting": [{"name": "a", "listen": "10.0.0.1:10040"}]}, "/hosting/0/listen"),
        ({"hosting": [{"name": "a", "listen": "*:10040", "enable": False}]}, None),
        ({"hosting": [{"name": "a", "listen": "*:80"}, {"name": "b", "listen": "*:80"}]}, None),
        ({"hosting": [{"name": "a", "listen": "off"}, {"name": "b"}]}, None),
        ({f"{CLUSTER}__discover__port": 10040}, None),
        (
            {
                f"{CLUSTER}__meta__enable": True,
                f"{CLUSTER}__stats__listen": "localhost:81",
                "hosting": [{"name": "a", "listen": "127.0.0.1:81"}],
            },
            "/hosting/0/listen",
        ),
        (
            {
                f"{CLUSTER}__meta__enable": True,
                f"{CLUSTER}__stats__listen": "[::1]:81",
                "hosting": [{"name": "a", "listen": "[0:0::1]:81"}],
            },
            "/hosting/0/listen",
        ),
        (
            {f"{CLUSTER}__meta__enable": True, "hosting": [{"name": "a", "listen": "*:9000"}]},
            "/hosting/0/listen",
        ),
        ({"hosting": [{"name": "a", "listen": "*:9000"}]}, None),
        (
            {f"{CLUSTER}__meta": {"enable": True, "baseHostingPort": 10039}, "hosting": [{"name": "a"}] * 3},
            "meta/baseHostingPort",
        ),
        (
            {f"{CLUSTER}__meta": {"enable": True, "baseHostingPort": 10036}, "hosting": [{"name": "a"}] * 2},
            None,
        ),
        ({f"{CLUSTER}__discover__port": 10040, f"{CLUSTER}__meta__enable": True}, "discover/port"),
        ({f"{CLUSTER}__stats__listen": "127.0.0.1:9900", f"{CLUSTER}__meta__enable": True}, "stats/listen"),
        ({f"{CLUSTER}__meta__enable": True, "hosting": [{"name": "a", "listen": "10.0.0.1:10038"}]}, None),
    ],
)
def test_two_parts_of_a_node_listen_on_one_port(changes, place):
    found = [pointer for code, pointer in whole_lints(setting(**changes)) if code == "port-clash"]
    assert [pointer.endswith(place or "-") for pointer in found] == ([True] if place else [])


def test_a_list_of_nodes_changes_virtual_hosts_that_exist():
    info = {"hosting": [{"name": "www.example.com"}, {"name": "www.example.org"}]}
    nodelist = {"enable": True, "feedback": {"type": "setting", "info": info}}
    server = {"enable": True, "features": {"nodelist": nodelist}}
    path = "/env/management/server/features/nodelist"
    reported = {
        "enable": True,
        "features": {"nodelist": {**nodelist, "feedback": {"type": "api", "info": info}}},
    }
    assert whole_lints(setting(env__management__server=reported)) == [
        ("deprecated-nodelist", f"{path}/enable")
    ]
    assert whole_lints(setting(env__management__server=server)) == [
        ("deprecated-nodelist", f"{path}/enable"),
        ("unknown-hosting", f"{path}/feedback/info/hosting/1/name"),
    ]
