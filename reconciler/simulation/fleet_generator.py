"""Fleets made up for trying things out: the files of a fleet of so many nodes, on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final

from reconciler.errors import UsageError
from reconciler.ports.simulator import Address
from reconciler.simulation.addresses import on_loopback

FIRST: Final = Address("127.0.0.1", 20_001)
"""Where the first node listens unless it is said."""

MEMBERS: Final = 5
"""Nodes of one made-up Sora cluster; the last one may have 3 to 7, so that each has a majority to lose."""

_LAST_PORT: Final = 65_535
_FEWEST: Final = 3


def made_up(kind: str, nodes: int, first: Address = FIRST) -> dict[str, str]:
    """The files of a fleet: path -> text; the same arguments give the same files.

    Args:
        kind: the product.
        nodes: how many.
        first: where the first node listens: from 127.0.0.1 on the port counts up, from any other
            address of 127.0.0.0/8 the address does.

    Raises:
        UsageError: there is no such product, or there are not so many addresses.
    """
    if kind not in MAKERS:
        raise UsageError(f"there is no kind {kind!r}", remedy=f"one of {', '.join(sorted(MAKERS))}")
    return MAKERS[kind](list(_addresses(nodes, first)), first)


def _addresses(count: int, first: Address) -> Iterator[Address]:
    on_loopback("the first node", first)
    if first.host == "localhost":
        raise UsageError("localhost is not a number to count from", remedy=f"for example {FIRST}")
    last = Address(first.host, first.port + count - 1)
    if first.host != FIRST.host:
        last = Address(str(ip_address(first.host) + count - 1), first.port)
    if last.port > _LAST_PORT or not ip_address(last.host).is_loopback:
        raise UsageError(f"there are no {count} addresses from {first} on", remedy="begin with a lower one")
    for index in range(count):
        if first.host == FIRST.host:
            yield Address(first.host, first.port + index)
        else:
            yield Address(str(ip_address(first.host) + index), first.port)


def _m2(addresses: list[Address], first: Address) -> dict[str, str]:
    width = max(2, len(str(len(addresses))))
    lines = [
        f"# {len(addresses)} simulated M2 nodes that share one setting.",
        "clusters:",
        "  - name: edge",
        "    kind: m2",
        "    setting: setting.json",
        "    nodes:",
        *(
            f"      - {{name: edge-{number:0{width}}, address: {_quoted(address)}}}"
            for number, address in enumerate(addresses, start=1)
        ),
    ]
    port = 10_040 if first.host == FIRST.host else first.port
    setting = json.dumps(_setting(port), indent=2)
    return {"fleet.yaml": "\n".join(lines) + "\n", "setting.json": setting + "\n"}


def _sora(addresses: list[Address], _: Address) -> dict[str, str]:
    width = max(2, len(str(len(addresses))))
    lines = [f"# {len(addresses)} simulated Sora nodes in clusters of their own.", "clusters:"]
    begun = 0
    for cluster, size in enumerate(_sizes(len(addresses)), start=1):
        lines += [f"  - name: live-{cluster:0{width}}", "    kind: sora", "    initialise: true"]
        lines.append("    nodes:")
        for number in range(begun, begun + size):
            name = f"node-{number + 1:0{width}}@sora-{number + 1:0{width}}.example.com"
            lines.append(f'      - {{name: {name}, api: "http://{addresses[number]}/"}}')
        begun += size
    return {"fleet.yaml": "\n".join(lines) + "\n"}


def _sizes(nodes: int) -> list[int]:
    clusters, rest = divmod(nodes, MEMBERS)
    sizes = [MEMBERS] * clusters
    if rest >= _FEWEST or not clusters:
        sizes.append(rest)
    else:
        sizes[-1] += rest
    return sizes


def _quoted(address: Address) -> str:
    return f'"{address}"' if ":" in address.host else str(address)


def _setting(port: int) -> dict[str, Any]:
    """A setting of a usual size, about 3 KB, that lets this machine in."""
    return {
        "meta": {"version": "2026-11-21-A"},
        "env": {
            "management": {
                "api": {
                    "port": port,
                    "defaultRole": "admin",
                    "multipartName": "settingFile",
                    "allowList": [
                        {"role": "admin", "addr": "127.0.0.0/8"},
                        {"role": "user", "addr": "192.168.3.0/24"},
                    ],
                },
                "roles": [
                    {
                        "name": "admin",
                        "permissions": {
                            "enableSetting": True,
                            "enablePurge": True,
                            "enableMetric": True,
                            "enableGraph": True,
                            "enableMonitoring": True,
                            "enableGet": True,
                            "enableCluster": True,
                        },
                    },
                    {"name": "user", "permissions": {"enableMetric": True, "enableMonitoring": True}},
                ],
            },
            "network": {"http": {"recvBufferSize": 8192}, "passiveSockets": 20000},
        },
        "functions": {"network": {"cache": {"maxAge": 60}}},
        "hosting": [_host(number) for number in range(1, 9)],
    }


def _host(number: int) -> dict[str, Any]:
    return {
        "name": f"www{number}.example.com",
        "listen": "*:80",
        "aliases": [f"cdn{number}.example.com"],
        "origin": {"address": [f"198.51.100.{number}", f"203.0.113.{number}"]},
    }


MAKERS: Final[Mapping[str, Callable[[list[Address], Address], dict[str, str]]]] = {"m2": _m2, "sora": _sora}
"""Kind -> what makes its files."""
