"""Origins that a node replaces while it runs: its setting keeps what was delivered, and nothing waits."""

import copy

import pytest

from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.risk import find_fields_not_running

SETTING = {
    "env": {
        "management": {
            "server": {
                "features": {
                    "nodelist": {
                        "enable": True,
                        "feedback": {"type": "setting", "info": {"hosting": [{"name": "a/b.com"}]}},
                    }
                }
            }
        }
    },
    "hosting": [
        {"name": "a/b.com", "origin": {"address": ["10.0.0.1"]}},
        {"name": "b.com", "origin": {"address": ["#aws:vm:tag=farm"]}},
        {"name": "c.com", "origin": {"address": ["10.0.0.3"]}},
    ],
}


def running(*addresses):
    shown = copy.deepcopy(SETTING)
    for hosting, address in zip(shown["hosting"], addresses, strict=True):
        hosting["origin"]["address"] = address
    return ContentCache().of(shown)


def test_addresses_from_a_cloud_wait_for_nothing():
    shown = running(["5.5.5.5", "6.6.6.6"], ["7.7.7.7"], ["10.0.0.3"])
    assert find_fields_not_running(shown, ContentCache().of(SETTING)) == ()


@pytest.mark.parametrize("addresses", [["8.8.8.8"], ["10.0.0.3", "8.8.8.8"]])
def test_another_origin_waits(addresses):
    found = find_fields_not_running(running(["5.5.5.5"], ["7.7.7.7"], addresses), ContentCache().of(SETTING))
    assert found
    assert all(pointer.startswith("/hosting/c.com/origin") for pointer in found)
