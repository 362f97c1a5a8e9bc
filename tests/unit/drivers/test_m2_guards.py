"""Lock-outs: whom a new setting would shut out of the node, however the node reads its allowList."""

from __future__ import annotations

import pytest
from support.guard_cases import polled
from support.m2_wire import BASE, cluster_input, loaded, setting

from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.observation import Absent, Observed, Present
from reconciler.drivers.m2.product import DRIVER

LIST = "env__management__api__allowList"
ADMIN = {"role": "admin", "addr": "10.0.0.1"}
USER = {"role": "user", "addr": "10.0.0.0/24"}


def codes(wanted, shown=BASE, caller="127.0.0.1", **entry):
    where = cluster_input(wanted, **entry)
    desired = DRIVER.desire(where)
    answer = Absent("404") if shown is None else Present(loaded(shown, caller=caller))
    observed = Observed({"edge-01": answer})
    case = GuardContext(DRIVER.plan(desired, observed), where.entry, desired, observed)
    found = run_guards(case, DRIVER.guards)
    assert [each for each in found if each.target != "edge/edge-01"] == []
    return [each.code for each in found]


def test_a_change_that_keeps_all_access_passes():
    assert codes(setting(meta__version="B")) == []


@pytest.mark.parametrize(
    ("schedule", "found"),
    [
        ("0 0 0 1 1 *", ["lock-out"]),
        ("0 0 3 * * 1-5", ["lock-out"]),
        ("0 0 3 29 2 *", ["lock-out"]),
        ("0 0 3 * * *", []),
        ("*/15 * 2-4 * 1-12 *", []),
    ],
)
def test_a_node_that_polls_does_so_every_day(schedule, found):
    case = polled(1, counting=1, schedule=schedule)
    assert [each.code for each in run_guards(case, DRIVER.guards)] == found


def test_a_node_that_is_not_changed_is_not_judged():
    nobody = setting(**{LIST: [USER]})
    assert codes(nobody, nobody) == []


@pytest.mark.parametrize(
    "wanted",
    [
        setting(**{LIST: [{"role": "user", "addr": "0.0.0.0/0"}]}),
        setting(env__management__roles=[{"name": "admin"}, {"name": "user"}]),
        setting(**{LIST: [{"addr": "0.0.0.0/0"}], "env__management__api__defaultRole": "user"}),
    ],
)
def test_a_setting_without_any_allowed_address_is_refused(wanted):
    assert "lock-out-all" in codes(wanted)
    assert codes(wanted, None) == ["lock-out-all"]


def test_a_first_setting_must_grant_access_under_every_rule():
    assert codes(setting(**{LIST: [ADMIN, USER]}), None) == []
    assert codes(setting(**{LIST: [USER, ADMIN]}), None) == ["lock-out-all"]
    assert codes(setting(**{LIST: None}), None) == []


def test_this_host_is_not_shut_out():
    assert codes(setting(**{LIST: [ADMIN]})) == ["lock-out"]
    both = setting(**{LIST: [ADMIN, {"role": "admin", "addr": "127.0.0.1"}]})
    assert codes(setting(**{LIST: [ADMIN]}), both, "10.0.0.1") == []
    assert codes(setting(**{LIST: [ADMIN]}), both, "127.0.0.1") == ["lock-out"]


def test_an_entry_that_hides_this_hosts_own_counts_as_a_lock_out():
    shown = setting(**{LIST: [ADMIN, USER]})
    assert codes(setting(**{LIST: [USER, ADMIN]}), shown, "10.0.0.1") == ["lock-out"]
    assert codes(setting(meta__version="B", **{LIST: [ADMIN, USER]}), shown, "10.0.0.1") == []


def test_rules_that_the_last_reading_excludes_do_not_count():
    """A host that could read the node without any list may rely on that."""
    without = setting(**{LIST: None})
    assert codes(setting(meta__version="B", **{LIST: None}), without) == []
    hidden = setting(**{LIST: [USER, ADMIN]})
    assert codes(setting(meta__version="B", **{LIST: [USER, ADMIN]}), hidden, "10.0.0.1") == []


@pytest.mark.parametrize("caller", ["", "172.16.0.9"])
def test_behind_a_translation_every_allowed_address_keeps_its_access(caller):
    shown = setting(**{LIST: [ADMIN, {"role": "admin", "addr": "10.0.1.0/24"}]})
    wider = setting(**{LIST: [{"role": "admin", "addr": "10.0.0.0/16"}]})
    assert codes(wider, shown, caller) == []
    assert codes(setting(**{LIST: [ADMIN]}), shown, caller) == ["lock-out"]
    assert codes(setting(**{LIST: [ADMIN]}), caller=caller) == ["lock-out"]
    assert codes(setting(**{LIST: None}), shown, caller) == ["lock-out"]
    assert codes(setting(meta__version="B", **{LIST: None}), setting(**{LIST: None}), caller) == []


def test_named_management_addresses_take_the_place_of_the_discovered_one():
    seen_as = {"management": ["10.0.0.1"]}
    shown = setting(**{LIST: [ADMIN, {"role": "admin", "addr": "127.0.0.1"}]})
    only_named, only_found = setting(**{LIST: [ADMIN]}), setting(**{LIST: [{"addr": "127.0.0.1"}]})
    assert codes(only_named, shown) == ["lock-out"]
    assert codes(only_named, shown, **seen_as) == []
    assert codes(only_found, shown, **seen_as) == ["lock-out"]


def test_each_named_address_that_may_deliver_now_keeps_that():
    both = {"management": ["10.0.0.1", "10.0.0.2"]}
    other = {"role": "admin", "addr": "10.0.0.2"}
    assert codes(setting(**{LIST: [ADMIN]}), setting(**{LIST: [ADMIN, other]}), **both) == ["lock-out"]
    assert codes(setting(meta__version="B", **{LIST: [ADMIN]}), setting(**{LIST: [ADMIN]}), **both) == []


def test_where_no_named_address_could_have_read_the_node_all_who_may_deliver_count():
    elsewhere = {"management": ["203.0.113.9"]}
    shown = setting(**{LIST: [ADMIN, {"role": "admin", "addr": "10.0.1.0/24"}]})
    assert codes(setting(**{LIST: [ADMIN]}), shown, **elsewhere) == ["lock-out"]
    assert codes(setting(**{LIST: [{"addr": "10.0.0.0/16"}]}), shown, **elsewhere) == []


def test_a_first_setting_must_grant_access_to_the_management_hosts():
    assert codes(setting(**{LIST: [ADMIN]}), None, management=["10.0.0.1"]) == []
    assert codes(setting(**{LIST: [ADMIN]}), None, management=["10.0.0.2"]) == ["lock-out"]


def doubts(wanted, shown, caller="127.0.0.1", **entry):
    desired = DRIVER.desire(cluster_input(wanted, **entry))
    observed = Observed({"edge-01": Present(loaded(shown, caller=caller))})
    return [one.code for one in DRIVER.plan(desired, observed).findings if one.code == "read-back-lost"]


ROLES = "env__management__roles"
READS = [{"name": "admin", "permissions": {"enableSetting": True}}, {"name": "user"}]
BLIND = [{"name": "admin", "permissions": {"enableSetting": True, "enableGet": False}}, {"name": "user"}]


def test_a_warning_reports_that_a_change_could_not_be_verified():
    """It is no lock-out: the setting itself is read with the permission that delivers it."""
    shown, wanted = setting(**{ROLES: READS}), setting(**{ROLES: BLIND})
    assert doubts(wanted, shown) == ["read-back-lost"]
    assert codes(wanted, shown) == []
    assert doubts(setting(meta__version="B", **{ROLES: READS}), shown) == []
    assert doubts(setting(meta__version="B", **{ROLES: BLIND}), wanted) == []
    assert doubts(setting(**{LIST: [ADMIN]}), shown) == []


def test_that_warning_is_about_the_named_hosts_where_there_are_any():
    entries = [{"role": "admin", "addr": "127.0.0.0/8"}, {"role": "other", "addr": "10.0.0.1"}]
    both = [*READS, {"name": "other", "permissions": {"enableSetting": True}}]
    blind = [*BLIND, {"name": "other", "permissions": {"enableSetting": True}}]
    shown, wanted = (setting(**{LIST: entries, ROLES: roles}) for roles in (both, blind))
    assert doubts(wanted, shown) == ["read-back-lost"]
    assert doubts(wanted, shown, management=["10.0.0.1"]) == []
