"""Whom a change of access shuts out, where it is not known at which address a node sees this host."""

from ipaddress import ip_address
from random import Random
from time import perf_counter

import pytest
from support.m2_wire import setting

from reconciler.drivers.m2.caller_permissions import SETTING_PERMISSION, AccessTable
from reconciler.drivers.m2.choices import AllowListMatch, Choices
from reconciler.drivers.m2.lock_out import find_addresses_losing_access, has_certain_access


def allowing(*entries):
    """A setting with these entries: an address of an admin, or of a user where a `-` stands before it."""
    listed = [{"addr": text.lstrip("-"), "role": "user" if text[0] == "-" else "admin"} for text in entries]
    return setting(env__management__api__allowList=listed)


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (["10.0.0.0/28"], ["10.0.0.0/30", "10.0.0.12/30"], ["10.0.0.4", "10.0.0.11"]),
        (["10.0.0.0/28"], ["10.0.0.0-7", "10.0.0.9-15"], ["10.0.0.8"]),
        (["10.0.0.0-15"], ["10.0.0.0-6", "10.0.0.9-15"], ["10.0.0.7", "10.0.0.8"]),
        (["10.0.0.0/28"], ["10.0.0.1-15"], ["10.0.0.0"]),
        (["10.0.0.0/28"], ["10.0.0.0-14"], ["10.0.0.15"]),
        (["0.0.0.0/0"], ["0.0.0.0/1", "128.0.0.0/1"], []),
        (["0.0.0.0/0"], ["128.0.0.0/1"], ["0.0.0.0", "127.255.255.255"]),
        (["10.0.0.0/28"], ["10.0.0.0/29", "10.0.0.8/29"], []),
        (["10.0.0.0/28"], ["-10.0.0.4-7", "10.0.0.0/28"], ["10.0.0.4", "10.0.0.7"]),
        (["2001:db8::/64"], ["2001:db8::/66", "2001:db8:0:0:c000::/66"], ["2001:db8:0:0:4000::"]),
    ],
)
def test_an_address_between_two_entries_is_lost_too(before, after, lost):
    found = find_addresses_losing_access(allowing(*before), allowing(*after))
    assert set(lost) <= set(found)
    assert bool(lost) is bool(found)


@pytest.mark.parametrize("number", [0, 3, 70, 299])
def test_one_removed_entry_of_many_is_found(number):
    entries = [f"10.{one // 200}.{one % 200}.0/28" for one in range(300)]
    after = entries[:number] + entries[number + 1 :]
    (first, *_) = find_addresses_losing_access(allowing(*entries), allowing(*after))
    assert first == entries[number].removesuffix("/28")


def test_an_administrator_between_the_entries_of_users_is_somebody():
    rings = ["-10.0.0.0-3", "-10.0.0.5-15", "10.0.0.0/28"]
    assert has_certain_access(allowing(*rings))
    assert not has_certain_access(allowing("-10.0.0.0-4", *rings))


def test_the_sweep_agrees_with_a_lookup_of_each_address():
    draw = Random(7)
    rules = {False: Choices(match=AllowListMatch.FIRST), True: Choices(match=AllowListMatch.UNION)}
    for _ in range(60):
        entries = []
        for _ in range(draw.randrange(1, 9)):
            low = draw.randrange(30)
            mark = draw.choice(["", "-"])
            entries.append(f"{mark}10.0.0.{low}-{draw.randrange(low, 32)}")
        table = AccessTable(allowing(*entries))
        numbers = [(4, (10 << 24) + one) for one in range(34)]
        for (_, number), granted in zip(numbers, table.granting(numbers, SETTING_PERMISSION), strict=True):
            address = str(ip_address(number))
            asked = [
                SETTING_PERMISSION in table.access(address, rules[union]).permissions
                for union in (False, True)
            ]
            assert list(granted) == asked, (entries, address)


def test_a_long_list_of_overlapping_entries_is_fast():
    """As many as a node may show: by pairs these would be some 10,000,000 questions."""
    entries = [f"10.{one // 250}.{one % 250}.0/{8 + one % 20}" for one in range(1_500)]
    began = perf_counter()
    assert find_addresses_losing_access(allowing(*entries), allowing(*entries)) == ()
    assert perf_counter() - began < 3
