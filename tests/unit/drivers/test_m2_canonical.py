"""What counts as the same setting and what does not; each rule once, by hand."""

from __future__ import annotations

import copy

import pytest
from support.m2_wire import BASE, canonicalise, setting

from reconciler.core.diff import diff_values
from reconciler.core.secret import MASK, Secret, mask
from reconciler.drivers.m2.canonical import fingerprint_clear
from reconciler.drivers.m2.content import ContentCache

MANAGEMENT = "env__management__"
MEMBERS = MANAGEMENT + "cluster__discover__members"
MODE = MANAGEMENT + "cluster__balance__mode"
LIST = MANAGEMENT + "api__allowList"


def same(one, other):
    return diff_values(canonicalise(one), canonicalise(other)) == () and fingerprint_clear(
        canonicalise(one)
    ) == fingerprint_clear(canonicalise(other))


DEFAULTS = {
    "meta__setting__deploy": "exclusive",
    MANAGEMENT + "api__defaultRole": "admin",
    MANAGEMENT + "api__multipartName": "settingFile",
    MANAGEMENT + "server__enable": False,
    MANAGEMENT + "server__features__setting__enable": False,
    MANAGEMENT + "server__features__setting__feedback__uploadSetting": True,
    MANAGEMENT + "server__features__purge__enable": False,
    MANAGEMENT + "server__features__purge__workerCount": 2,
    MANAGEMENT + "server__features__heartbeat__enable": False,
    MANAGEMENT + "server__features__nodelist__enable": False,
    MANAGEMENT + "server__events__onSettingLoad__backup__enable": False,
    MANAGEMENT + "server__events__onSettingLoad__backup__auto": True,
    MANAGEMENT + "server__events__onSettingLoad__backup__timeout": 30,
    MANAGEMENT + "server__events__onPurgeRequest__propagation__enable": False,
    MANAGEMENT + "cluster__meta__enable": False,
    MANAGEMENT + "cluster__meta__baseHostingPort": 9000,
    MANAGEMENT + "cluster__discover__port": 9900,
    MANAGEMENT + "cluster__discover__members": None,
    MANAGEMENT + "cluster__balance__mode": "rr",
    MANAGEMENT + "cluster__balance__luaPath": None,
    MANAGEMENT + "cluster__balance__urlIgnoreList": ["#FUNCTION"],
    MANAGEMENT + "cluster__stats__enable": True,
    MANAGEMENT + "cluster__stats__listen": "127.0.0.1:10038",
}


def explicit(path, value):
    document = copy.deepcopy(BASE)
    *parents, last = path.split("__")
    place = document
    for key in parents:
        place = place.setdefault(key, {})
    place[last] = value
    return document


@pytest.mark.parametrize(("path", "value"), DEFAULTS.items())
def test_a_documented_default_has_the_same_meaning_as_its_absence(path, value):
    assert same(BASE, explicit(path, value))
    assert not same(BASE, explicit(path, "something else"))


def test_the_port_has_a_default_too():
    assert same(setting(env__management__api__port=None), setting(env__management__api__port=10040))


def test_absent_permissions_are_false_except_enable_get():
    role = {"name": "user", "permissions": {"enableMetric": True}}
    full = {"name": "user", "permissions": {"enableMetric": True, "enableGet": True, "enablePurge": False}}
    admin = BASE["env"]["management"]["roles"][0]
    both = [setting(env__management__roles=[admin, each]) for each in (role, full)]
    assert same(*both)
    without = {"name": "user", "permissions": {"enableMetric": True, "enableGet": False}}
    assert not same(both[0], setting(env__management__roles=[admin, without]))


def test_a_missing_role_is_the_default_role():
    one = setting(**{LIST: [{"addr": "10.0.0.1"}]})
    other = setting(**{LIST: [{"addr": "10.0.0.1", "role": "admin"}]})
    assert same(one, other)
    assert not same(one, setting(**{LIST: [{"addr": "10.0.0.1"}], MANAGEMENT + "api__defaultRole": "user"}))


@pytest.mark.parametrize("addr", ["192.168.3.0/24", "192.168.3.0/255.255.255.0", "192.168.3.0-255"])
def test_an_address_may_take_any_form(addr):
    one = setting(**{LIST: [{"role": "user", "addr": "192.168.3.0/24"}]})
    assert same(one, setting(**{LIST: [{"role": "user", "addr": addr}]}))


def test_allow_list_order_counts_only_where_entries_overlap_and_differ_in_role():
    apart = [{"role": "admin", "addr": "10.0.0.1"}, {"role": "user", "addr": "10.0.0.2"}]
    assert same(setting(**{LIST: apart}), setting(**{LIST: apart[::-1]}))
    agreed = [{"role": "admin", "addr": "10.0.0.0/24"}, {"role": "admin", "addr": "10.0.0.2"}]
    assert same(setting(**{LIST: agreed}), setting(**{LIST: agreed[::-1]}))
    over = [{"role": "admin", "addr": "10.0.0.0/24"}, {"role": "user", "addr": "10.0.0.2"}]
    assert not same(setting(**{LIST: over}), setting(**{LIST: over[::-1]}))
    third = {"role": "user", "addr": "172.16.0.0/12"}
    assert same(setting(**{LIST: [*over, third]}), setting(**{LIST: [third, *over]}))


def test_an_overlap_is_found_across_entries_between():
    wide = {"role": "admin", "addr": "10.0.0.0/8"}
    between = {"role": "admin", "addr": "10.1.0.0/16"}
    narrow = {"role": "user", "addr": "10.200.0.1"}
    one = setting(**{LIST: [wide, between, narrow]})
    assert not same(one, setting(**{LIST: [narrow, wide, between]}))
    assert same(one, setting(**{LIST: [between, wide, narrow]}))


def test_a_repeated_entry_is_left_out():
    entry = {"role": "user", "addr": "10.0.0.2"}
    assert same(setting(**{LIST: [entry]}), setting(**{LIST: [entry, {**entry, "addr": "10.0.0.2/32"}]}))


def test_nothing_moves_across_an_entry_that_cannot_be_read():
    odd, one, other = {"addr": "any"}, {"addr": "10.0.0.1"}, {"addr": "10.0.0.2"}
    assert not same(setting(**{LIST: [one, odd, other]}), setting(**{LIST: [other, odd, one]}))
    assert same(setting(**{LIST: [one, other, odd]}), setting(**{LIST: [other, one, odd]}))


def test_roles_and_connections_are_sorted_by_name():
    roles = BASE["env"]["management"]["roles"]
    assert same(BASE, setting(env__management__roles=roles[::-1]))
    one = {"name": "a", "type": "kafka", "info": {"brokers": ["x:1", "y:1"]}}
    other = {"name": "b", "type": "kafka", "info": {"brokers": ["z:1"]}}
    turned = {**one, "info": {"brokers": ["y:1", "x:1"]}}
    assert same(
        setting(env__management__server__connection=[one, other]),
        setting(env__management__server__connection=[other, turned]),
    )


def test_members_have_an_order_only_where_a_hash_chooses():
    one, other = ["10.0.0.1", "10.0.0.2"], ["10.0.0.2", "10.0.0.1"]
    assert same(setting(**{MEMBERS: one}), setting(**{MEMBERS: other}))
    assert not same(setting(**{MEMBERS: one, MODE: "hash"}), setting(**{MEMBERS: other, MODE: "hash"}))


def test_groups_keep_their_order_and_what_is_in_them_has_its_own():
    first = {"functions": ["render", "transcoder"], "nodes": ["10.0.0.1", "10.0.0.2"]}
    second = {"nodes": ["10.0.0.3", "10.0.0.4"], "balance": {"mode": "hash"}}
    base = setting(**{MEMBERS: [first, second]})
    full = {
        "functions": ["transcoder", "render"],
        "nodes": ["10.0.0.2", "10.0.0.1"],
        "balance": {"mode": "rr"},
    }
    assert same(base, setting(**{MEMBERS: [full, {**second, "functions": None}]}))
    assert not same(base, setting(**{MEMBERS: [second, first]}))
    assert not same(base, setting(**{MEMBERS: [first, {**second, "nodes": ["10.0.0.4", "10.0.0.3"]}]}))
    assert not same(base, setting(**{MEMBERS: [first, second], MODE: "hash"}))


def test_other_lists_keep_their_order():
    ignore = MANAGEMENT + "cluster__balance__urlIgnoreList"
    assert not same(setting(**{ignore: ["a", "b"]}), setting(**{ignore: ["b", "a"]}))
    hosts = [{"name": "a"}, {"name": "b"}]
    assert not same(setting(hosting=hosts), setting(hosting=hosts[::-1]))
    assert not same(setting(functions={"x": [1, 2]}), setting(functions={"x": [2, 1]}))


def test_a_list_and_its_lack_are_not_the_same():
    assert not same(setting(**{LIST: []}), setting(**{LIST: None}))
    assert not same(setting(env__management__roles=[]), setting(env__management__roles=None))


def test_whole_floats_equal_integers_and_booleans_stay():
    assert same(setting(meta__version=1), setting(meta__version=1.0))
    assert same(setting(functions={"x": [10.0, {"y": -0.0}]}), setting(functions={"x": [10, {"y": 0}]}))
    assert not same(setting(functions={"x": 1}), setting(functions={"x": 1.5}))
    assert not same(setting(functions={"x": 1}), setting(functions={"x": True}))
    assert not same(setting(functions={"x": 1}), setting(functions={"x": "1"}))


def test_the_version_is_part_of_the_meaning():
    assert not same(setting(meta__version="A"), setting(meta__version="B"))
    assert not same(setting(meta__version="1"), setting(meta__version=1))


def test_secrets_are_masked_and_compared_by_value():
    def document(key, url="https://m/x"):
        info = {"accessKeyId": key, "secretAccessKey": key, "region": "r"}
        feed = {"type": "apiPolling", "info": {"url": url}}
        return setting(
            env__management__server__connection=[{"name": "s", "type": "awssdk3", "info": info}],
            env__management__server__features__setting__feed=feed,
        )

    one = canonicalise(document("planted", "https://user:planted@m/x"))
    assert "planted" not in str(mask(one))
    assert str(mask(one)).count(MASK) == 3
    assert same(document("k"), document("k"))
    assert not same(document("k"), document("j"))
    assert same(document("k"), document(Secret("k", "${env:KEY}")))


def test_the_document_itself_is_left_alone():
    document = setting(
        env__management__server__connection=[
            {"name": "s", "info": {"privateKey": "k", "brokers": ["b", "a"]}}
        ],
        env__management__server__features={"later": {"feed": {"info": {"url": "https://u:p@h"}}}},
        **{MEMBERS: [{"functions": ["b", "a"], "nodes": ["10.0.0.2", "10.0.0.1"]}]},
    )
    before = copy.deepcopy(document)
    canonicalise(document)
    assert document == before


@pytest.mark.parametrize("aliases", [[], None])
def test_no_aliases_are_the_same_written_or_not(aliases):
    host = {"name": "www.example.com"}
    without, written = (
        ContentCache().of({"hosting": [host]}),
        ContentCache().of({"hosting": [{**host, "aliases": aliases}]}),
    )
    assert without.fingerprint == written.fingerprint
    named = ContentCache().of({"hosting": [{**host, "aliases": ["example.com"]}]})
    assert named.fingerprint != without.fingerprint
