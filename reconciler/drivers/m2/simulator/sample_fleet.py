"""A fleet of M2 nodes for trying things out: nodes that share one setting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from reconciler.ports.simulator import SocketAddress


def make_sample_fleet(addresses: Sequence[SocketAddress], *, same_port: bool) -> dict[str, str]:
    """The fleet's files: path -> text; see `ports.simulator.Simulator`."""
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
    port = addresses[0].port if same_port else 10_040
    setting = json.dumps(_setting(port), indent=2)
    return {"fleet.yaml": "\n".join(lines) + "\n", "setting.json": setting + "\n"}


def _quoted(address: SocketAddress) -> str:
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
