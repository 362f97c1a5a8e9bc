"""Which addresses are in the host's networks."""

from ipaddress import ip_network

import pytest

from reconciler.transports.networks import is_within_networks

NETWORKS = tuple(map(ip_network, ("192.0.2.0/24", "2001:db8::/32", "fe80::/10", "198.51.100.7/32")))


@pytest.mark.parametrize(
    "address", ["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.9", "2001:db8::1", "fe80::1%eth0", "198.51.100.7"]
)
def test_inside(address):
    assert is_within_networks(address, NETWORKS)


@pytest.mark.parametrize(
    "address",
    [
        "192.0.3.0",
        "::192.0.2.1",
        "2001:db9::1",
        "::ffff:192.0.3.1",
        "198.51.100.8",
        "0.0.0.0",
        "::",
        "",
        "name",
    ],
)
def test_outside(address):
    assert not is_within_networks(address, NETWORKS)


def test_a_network_of_ipv4_holds_no_ipv6_address():
    assert not is_within_networks("::1", [ip_network("0.0.0.0/0")])
    assert not is_within_networks("127.0.0.1", [ip_network("::/0")])
