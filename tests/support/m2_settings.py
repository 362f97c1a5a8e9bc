"""Settings of M2 that let this host in, and their delivery by somebody else."""

import json
import urllib.request

MANAGEMENT = {
    "api": {"allowList": [{"role": "admin", "addr": "127.0.0.1"}]},
    "roles": [{"name": "admin", "permissions": {"enableSetting": True, "enableGet": True}}],
}
"""Lets this host read and replace the setting of a node."""


def managed_setting(*hostings, version=None, **more):
    """The text of a setting with this access.

    Args:
        hostings: names of its hostings.
        version: `meta.version`; None for a setting without it.
        more: further sections.
    """
    meta = {"meta": {"version": version}} if version else {}
    hosting = {"hosting": [{"name": name, "listen": "*:80"} for name in hostings]} if hostings else {}
    return json.dumps({**meta, "env": {"management": MANAGEMENT}, **hosting, **more})


def upload(address, setting):
    """Deliver a setting to a node as somebody else does."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{address}/setting/upload", setting.encode(), headers)
    urllib.request.urlopen(request, timeout=10).close()
