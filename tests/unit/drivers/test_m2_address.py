"""M2's address forms: what each means, and how an invalid one is reported."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from reconciler.core.endpoint import InvalidAddress
from reconciler.drivers.m2.address_range import parse_address_range


@pytest.mark.parametrize(
    ("text", "printed", "first", "last"),
    [
        ("192.168.1.1", "192.168.1.1", "192.168.1.1", "192.168.1.1"),
        ("192.168.2.1-255", "192.168.2.1-255", "192.168.2.1", "192.168.2.255"),
        ("192.168.3.0/24", "192.168.3.0/24", "192.168.3.0", "192.168.3.255"),
        ("192.168.4.0/255.255.255.0", "192.168.4.0/24", "192.168.4.0", "192.168.4.255"),
        ("192.168.3.0-255", "192.168.3.0/24", "192.168.3.0", "192.168.3.255"),
        ("10.0.0.128-255", "10.0.0.128/25", "10.0.0.128", "10.0.0.255"),
        ("10.0.0.7-7", "10.0.0.7", "10.0.0.7", "10.0.0.7"),
        ("10.0.0.7/32", "10.0.0.7", "10.0.0.7", "10.0.0.7"),
        ("0.0.0.0/0", "0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
        ("2001:DB8::/126", "2001:db8::/126", "2001:db8::", "2001:db8::3"),
    ],
)
def test_a_form_means_its_addresses_and_prints_in_one_way(text, printed, first, last):
    found = parse_address_range(text)
    assert (found.low, found.high) == (int(ip_address(first)), int(ip_address(last)))
    assert str(found) == printed


@pytest.mark.parametrize(
    ("text", "problem", "right"),
    [
        ("192.168.3.7/24", "not the first address", "192.168.3.0/24"),
        ("192.168.4.7/255.255.255.0", "not the first address", "192.168.4.0/255.255.255.0"),
        ("192.168.2.255-1", "ends before it starts", "192.168.2.1-255"),
        ("192.168.2.1-256", "256", "255"),
        ("192.168.2.1-192.168.2.9", "repeats", "192.168.2.1-9"),
        ("192.168.3.0/0.0.0.255", "netmask", "192.168.3.0/255.255.255.0"),
        (" 192.168.1.1", "white space", "192.168.1.1"),
        ("10.0.0.0/255.0.255.0", "network", "192.168.3.0/24"),
        ("10.0.0.0/33", "network", "192.168.3.0/24"),
        ("192.168.1.300", "address", "192.168.1.1"),
        ("192.168.001.1", "address", "192.168.1.1"),
        ("*", "address", "192.168.1.1"),
        ("", "address", "192.168.1.1"),
        ("10.0.1-2.0", "range", "192.168.2.1-255"),
        ("fe80::1%eth0", "interface", "without"),
    ],
)
def test_an_invalid_address_is_reported_with_a_valid_one(text, problem, right):
    with pytest.raises(InvalidAddress) as caught:
        parse_address_range(text)
    assert problem in caught.value.message
    assert right in caught.value.remedy


def test_spans_overlap_within_one_ip_version_only():
    assert parse_address_range("10.0.0.0/24").overlaps(parse_address_range("10.0.0.255"))
    assert not parse_address_range("10.0.0.0/24").overlaps(parse_address_range("10.0.1.0"))
    assert not parse_address_range("0.0.0.1").overlaps(parse_address_range("::1"))
