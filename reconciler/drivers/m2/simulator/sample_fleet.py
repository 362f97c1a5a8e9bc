"""A sample fleet of M2 nodes that share one setting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from reconciler.core.endpoint import SocketAddress
from reconciler.drivers.m2.setting.models import FACTORY_ROLES


def make_sample_fleet(addresses: Sequence[SocketAddress], *, same_port: bool) -> dict[str, str]:
    """The fleet's files: path -> text; see `ports.simulator.Simulator`."""
    width = _get_width(len(addresses))
    # In YAML, the colons and brackets of an IPv6 address need quotes.
    texts = [f'"{address}"' if ":" in address.host else str(address) for address in addresses]
    lines = [
        f"# {len(addresses)} simulated M2 nodes that share one setting.",
        "clusters:",
        "  - name: edge",
        "    kind: m2",
        "    setting: setting.json",
        "    nodes:",
        *(
            f"      - {{name: edge-{number:0{width}}, address: {text}}}"
            for number, text in enumerate(texts, start=1)
        ),
    ]
    port = addresses[0].port if same_port else 10_040
    setting = json.dumps(_make_setting(port), indent=2)
    return {"fleet.yaml": "\n".join(lines) + "\n", "setting.json": setting + "\n"}


def make_polling_fleet(count: int, server: str) -> dict[str, str]:
    """The files of a fleet whose nodes have no address: they poll `server`."""
    width = _get_width(count)
    lines = [
        f"# {count} simulated M2 nodes that share one setting, and poll the watch for it.",
        "clusters:",
        "  - name: edge",
        "    kind: m2",
        "    setting: setting.json",
        "    deliver: poll",
        f'    poll: {{server: "{server}"}}',
        "    nodes:",
        *(f"      - {{name: edge-{number:0{width}}}}" for number in range(1, count + 1)),
    ]
    setting = json.dumps(_make_setting(10_040), indent=2)
    return {"fleet.yaml": "\n".join(lines) + "\n", "setting.json": setting + "\n"}


def _get_width(count: int) -> int:
    return max(2, len(str(count)))


def _make_setting(port: int) -> dict[str, Any]:
    """A setting of a usual size, about 3 KB, that admits this machine."""
    granted = {name: True for name, given in FACTORY_ROLES[0]["permissions"].items() if given}
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
                    {"name": "admin", "permissions": granted},
                    {"name": "user", "permissions": {"enableMetric": True, "enableMonitoring": True}},
                ],
            },
            "network": {"http": {"recvBufferSize": 8192}, "passiveSockets": 20000},
        },
        "functions": {"network": {"cache": {"maxAge": 60}}},
        "hosting": [
            {
                "name": f"www{number}.example.com",
                "listen": "*:80",
                "aliases": [f"cdn{number}.example.com"],
                "origin": {"address": [f"198.51.100.{number}", f"203.0.113.{number}"]},
            }
            for number in range(1, 9)
        ],
    }
