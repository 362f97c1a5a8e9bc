"""The order of an allowList against its definition over all pairs, and with very many entries."""

from __future__ import annotations

import time
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.canonical import encode_canonical
from reconciler.core.waves import sort_by_dependency
from reconciler.drivers.m2.address_range import get_address_range
from reconciler.drivers.m2.allowlist import sort_entries

ADDRESSES = [
    "10.0.0.0/24", "10.0.0.1", "10.0.0.1-9", "10.0.0.5-20", "10.0.0.128/25", "10.0.1.0/24", "10.0.0.0/8",
    "0.0.0.0/0", "::1", "::/0", "no address", 1, None,
]  # fmt: skip
ENTRIES = st.lists(
    st.builds(
        lambda addr, role: {"addr": addr} | ({"role": role} if role else {}),
        st.sampled_from(ADDRESSES),
        st.sampled_from(["a", "b", "c", None]),
    )
    | st.just(5),
    max_size=9,
)


def over_all_pairs(entries):
    """The same order by its definition: an order that means something is kept, ties go by address."""
    spans = [get_address_range(entry) for entry in entries]
    keys = [encode_canonical(entry) for entry in entries]

    def bound(one, other):
        if spans[one] is None or spans[other] is None:
            return True
        differ = entries[one].get("role") != entries[other].get("role")
        return differ and spans[one].overlaps(spans[other])

    rank = sorted(
        range(len(entries)), key=lambda index: (spans[index] is not None, spans[index] or 0, keys[index])
    )
    after = {str(index): [] for index in rank}
    for earlier, later in combinations(range(len(entries)), 2):
        if bound(earlier, later):
            after[str(later)].append(str(earlier))
    order = [int(name) for name in sort_by_dependency(after)]
    return [
        entries[index]
        for place, index in enumerate(order)
        if place == 0 or spans[index] is None or keys[order[place - 1]] != keys[index]
    ]


@given(ENTRIES)
def test_the_order_is_that_of_all_pairs(entries):
    assert sort_entries(entries) == over_all_pairs(entries)


@given(ENTRIES)
def test_ordering_twice_changes_nothing(entries):
    assert sort_entries(sort_entries(entries)) == sort_entries(entries)


@pytest.mark.parametrize(
    "entries",
    [
        [{"addr": 1}] * 8_000,
        [{"addr": "0.0.0.0/0", "role": "ab"[index % 2]} for index in range(8_000)],
        [{"addr": "0.0.0.0/0", "role": str(index)} for index in range(8_000)],
        [{"addr": f"10.0.{index // 250}.{index % 250}", "role": str(index)} for index in range(4_000)]
        + [{"addr": f"10.0.0.0/{8 + index % 8}", "role": str(index)} for index in range(4_000)],
    ],
    ids=["unreadable", "two roles", "many roles", "small and wide"],
)
def test_eight_thousand_entries_take_no_pairs(entries):
    began = time.process_time()
    sort_entries(entries)
    assert time.process_time() - began < 4  # all pairs took two minutes


def test_an_address_of_thousands_of_digits_is_invalid():
    assert get_address_range({"addr": "1.1.1.1-" + "9" * 5_000}) is None
    assert get_address_range({"addr": "9" * 5_000 + ".1.1.1-9"}) is None
    assert get_address_range({"addr": "1.1.1.0/" + "9" * 5_000}) is None
