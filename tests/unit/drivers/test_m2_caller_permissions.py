"""Who may call an M2 node: each rule of the product's page as a plain assertion."""

from __future__ import annotations

import pytest

from reconciler.drivers.m2.caller_permissions import (
    PERMISSION_DEFAULTS,
    PERMISSION_OF,
    AccessTable,
    find_access,
    list_granted_permissions,
)
from reconciler.drivers.m2.choices import AllowListMatch, Choices
from reconciler.drivers.m2.setting.models import FACTORY_ROLES

ALL = set(PERMISSION_DEFAULTS)


def document(allow, *, roles=FACTORY_ROLES, **api):
    return {"env": {"management": {"api": {"allowList": allow, **api}, "roles": list(roles)}}}


@pytest.mark.parametrize(
    ("addr", "inside", "outside"),
    [
        ("192.168.1.1", ["192.168.1.1"], ["192.168.1.0", "192.168.1.2"]),
        ("192.168.2.1-255", ["192.168.2.1", "192.168.2.255"], ["192.168.2.0", "192.168.3.1"]),
        ("192.168.2.7-9", ["192.168.2.7", "192.168.2.9"], ["192.168.2.6", "192.168.2.10"]),
        ("192.168.3.0/24", ["192.168.3.0", "192.168.3.255"], ["192.168.2.255", "192.168.4.0"]),
        ("192.168.4.0/255.255.255.0", ["192.168.4.0", "192.168.4.255"], ["192.168.5.0"]),
        ("10.0.0.8/30", ["10.0.0.8", "10.0.0.11"], ["10.0.0.7", "10.0.0.12"]),
        ("127.0.0.0/8", ["127.0.0.1", "127.255.255.255", "::ffff:127.0.0.1"], ["128.0.0.1", "::1"]),
        ("::1", ["::1"], ["127.0.0.1", "::2"]),
    ],
)
def test_an_address_form_names_exactly_its_addresses(addr, inside, outside):
    table = AccessTable(document([{"addr": addr}]))
    assert [caller for caller in inside if not table.access(caller).listed] == []
    assert [caller for caller in outside if table.access(caller).listed] == []


@pytest.mark.parametrize(
    "addr",
    [
        "",
        "everywhere",
        "192.168.1",
        "192.168.1.256",
        "192.168.2.9-1",
        "192.168.2.1-256",
        "192.168.2.1-192.168.2.9",
        "192.168.3.0/33",
        "192.168.4.0/255.0.255.0",
        "192.168.4.0/0.0.0.255",
        "192.168.4.0/",
    ],
)
def test_an_invalid_address_matches_no_caller(addr):
    assert not find_access(document([{"addr": addr}]), "192.168.4.1").listed


def test_an_entry_without_a_role_has_the_default_role():
    found = document([{"addr": "10.0.0.1"}], defaultRole="user")
    assert find_access(found, "10.0.0.1").roles == ("user",)
    assert "enableSetting" not in find_access(found, "10.0.0.1").permissions


def test_the_default_role_is_admin():
    assert find_access(document([{"addr": "10.0.0.1"}]), "10.0.0.1").roles == ("admin",)


def test_every_permission_defaults_to_false_but_enable_get():
    assert list_granted_permissions({"name": "bare"}) == {"enableGet"}
    assert list_granted_permissions({"name": "none", "permissions": {"enableGet": False}}) == set()
    assert list_granted_permissions({"permissions": {"enablePurge": True}}) == {"enableGet", "enablePurge"}


def test_the_factory_roles_are_those_of_the_page():
    admin, user = FACTORY_ROLES
    assert list_granted_permissions(admin) == ALL - {"enableInstall", "enableRestart"}
    assert list_granted_permissions(user) == {"enableMetric", "enableGraph", "enableMonitoring", "enableGet"}


def test_a_caller_in_no_entry_is_not_listed():
    assert not find_access(document([{"addr": "10.0.0.1"}]), "10.0.0.2").listed


def test_an_undefined_role_grants_no_permission():
    rights = find_access(document([{"role": "ghost", "addr": "10.0.0.1"}]), "10.0.0.1")
    assert rights.listed
    assert rights.permissions == frozenset()


def test_of_several_entries_the_first_counts_or_all_of_them():
    found = document([{"role": "user", "addr": "10.0.0.0/8"}, {"role": "admin", "addr": "10.0.0.1"}])
    assert find_access(found, "10.0.0.1").roles == ("user",)
    union = find_access(found, "10.0.0.1", Choices(match=AllowListMatch.UNION))
    assert union.roles == ("user", "admin")
    assert "enableSetting" in union.permissions
    assert (
        "enableSetting" not in find_access(found, "10.0.0.2", Choices(match=AllowListMatch.UNION)).permissions
    )


def test_without_a_list_every_caller_or_none_has_the_default_role():
    found = document([], defaultRole="user")
    assert find_access(found, "8.8.8.8").roles == ("user",)
    assert not find_access(found, "8.8.8.8", Choices(open_without_list=False)).listed


def test_a_node_without_a_setting_or_without_roles_has_the_factorys():
    assert "enableSetting" in find_access(None, "10.0.0.1").permissions
    found = {"env": {"management": {"api": {"allowList": [{"role": "user", "addr": "10.0.0.1"}]}}}}
    assert find_access(found, "10.0.0.1").permissions == list_granted_permissions(FACTORY_ROLES[1])


def test_an_empty_list_of_roles_gives_nothing():
    assert find_access(document([{"addr": "10.0.0.1"}], roles=()), "10.0.0.1").permissions == frozenset()


def test_each_group_of_calls_needs_the_permission_of_the_page():
    assert dict(PERMISSION_OF) == {
        "setting": "enableSetting",
        "command": "enablePurge",
        "metrics": "enableMetric",
        "graph": "enableGraph",
        "monitoring": "enableMonitoring",
        "get": "enableGet",
    }
