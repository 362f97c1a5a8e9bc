"""What one M2 node answers to one request: pure functions from a node's state to bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

from reconciler.core.canonical import write_json
from reconciler.core.json_reader import read_json
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.access import PERMISSION_OF, access
from reconciler.drivers.m2.choices import Backup, Shown, Takes, Unlisted, Vacant
from reconciler.drivers.m2.simulator.package import delivered, packed
from reconciler.drivers.m2.simulator.selector import Missing, select, tokens
from reconciler.drivers.m2.simulator.wire import CLOSED, JSON, VERSION, Call, Reply, envelope, failure

PNG: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)
"""One white pixel."""


Answered: TypeAlias = tuple[machine.Node, Reply]
"""The node after the request, and what it answered."""

Route: TypeAlias = tuple[tuple[str, ...], Callable[[Call], Answered]]


def answered(call: Call) -> Answered:
    """What a node does with a request: permission first, then path, then method.

    Assumed: a stranger is turned away whatever it asks for; someone known learns that a path does not
    exist, without needing a permission for it.
    """
    request, node = call.request, call.node
    rights = access(node.running, call.choices.caller or request.peer, call.choices)
    if not rights.listed:
        return node, CLOSED if call.choices.unlisted is Unlisted.CLOSED else failure(401, "Unauthorized")
    route = _route(request.path)
    if route is None:
        return node, failure(404, "Not Found")
    methods, answer = route
    if PERMISSION_OF[request.path.split("/")[1]] not in rights.permissions:
        return node, failure(401, "Unauthorized")
    if request.method not in methods:
        status, headers, body = failure(405, "Method Not Allowed")
        return node, (status, {**headers, "Allow": ", ".join(methods)}, body)
    return answer(call)


def _route(path: str) -> Route | None:
    if path in _EXACT:
        return _EXACT[path]
    return next((route for prefix, route in _PREFIXES.items() if path.startswith(prefix)), None)


def _setting(call: Call) -> Answered:
    node = call.node
    if node.loaded is None or node.running is None:
        return node, _VACANT[call.choices.vacant]
    if call.choices.shown is Shown.SERVICE and machine.waiting(node):
        return node, (200, JSON, write_json(node.running))
    return node, (200, JSON, node.loaded.package.text)


def _upload(call: Call) -> Answered:
    node = call.node
    api = machine.lookup(node.running or {}, "env.management.api") or {}
    beside = node.loaded.package.resources if node.loaded else {}
    package = delivered(
        call.request.headers, call.request.body, api.get("multipartName", "settingFile"), beside
    )
    if call.choices.takes is Takes.REDIRECTS:
        return node, (307, {"Location": "http://192.0.2.1/setting/upload"}, b"")
    if isinstance(package, machine.Package):
        package = _altered(package, call.choices.takes)
    taken = package if isinstance(package, machine.Refused) else machine.upload(node, package)
    if call.choices.takes is Takes.KEEPS and isinstance(taken, machine.Accepted):
        taken = machine.Accepted(node)
    return _told(node, taken, 500)


def _altered(package: machine.Package, takes: Takes) -> machine.Package | machine.Refused:
    """A package as the node takes it, where that is another way than it was sent."""
    if takes is Takes.REFUSES:
        return machine.Refused("E0004", "the content is not accepted")
    if takes not in {Takes.ADDS, Takes.CASE}:
        return package
    document = read_json(package.text, machine.LIMITS)
    if takes is Takes.ADDS:
        document["licensed"] = True
    else:
        document["hosting"] = [
            {**host, "name": str(host.get("name", "")).upper()} for host in document.get("hosting", [])
        ]
    return machine.Package(write_json(document), package.resources)


def _deploy_local(call: Call) -> Answered:
    return _told(call.node, machine.deploy_local(call.node), 200)


def _checkout(call: Call) -> Answered:
    return _told(call.node, machine.checkout(call.node), 500)


def _told(node: machine.Node, taken: machine.Accepted | machine.Refused, failed: int) -> Answered:
    """A change's answer; `notupdated` stands in it only where something waits, as in the pages."""
    if isinstance(taken, machine.Refused):
        said = envelope("reloadall", "Fail", f"{taken.code} {taken.reason}")
        return node, (failed, JSON, write_json(said))
    said = envelope("reloadall", "OK", "accepted")
    if taken.waiting:
        said["notupdated"] = [
            {"field": item.field, "cur": item.current, "new": item.asked} for item in taken.waiting
        ]
    return taken.node, (200, JSON, write_json(said))


def _download(call: Call) -> Answered:
    node = call.node
    if call.choices.backup is Backup.DISABLED:
        return node, failure(406, "the backup function is disabled", "download")
    if not node.history:
        return node, failure(500, "there is no history", "download")
    if call.choices.backup is Backup.LOST:
        return node, failure(404, "the backup file is missing", "download")
    return node, (200, {"Content-Type": "application/x-compressed"}, packed(node.history[-1].package))


def _get_setting(call: Call) -> Answered:
    node = call.node
    selector, _, form = call.request.path.removeprefix("/get/setting").partition("/")
    path = tokens(selector)
    if path is None or form not in {"", "running", "artifact"}:
        return node, failure(400, "Bad Request", "setting")
    if node.loaded is None or node.running is None:
        return node, failure(500, "setting.json is not loaded", "setting")
    try:
        value = select(node.loaded.document if form == "artifact" else node.running, path)
    except Missing as missing:
        return node, failure(404, f"there is no {missing}", "setting")
    return node, (200, JSON, write_json(value))


def _get_hosting(call: Call) -> Answered:
    path = tokens(call.request.path.removeprefix("/get/hosting"))
    if path is None:
        return call.node, failure(400, "Bad Request", "hosting")
    try:
        found = select(
            {"hosting": (call.node.running or {}).get("hosting", [])}, [("hosting", ""), *path[-1:]]
        )
    except Missing as missing:
        return call.node, failure(404, f"there is no {missing}", "hosting")
    hosts = found if isinstance(found, list) else [found]
    summary = [
        {"name": host.get("name"), "enable": host.get("enable", True), "listen": host.get("listen", "*:80")}
        for host in hosts
    ]
    return call.node, (200, JSON, write_json(envelope("hosting", "OK", summary)))


def _hosting(call: Call) -> list[Any]:
    return machine.lookup(call.node.running, "hosting") or []


def _license(call: Call) -> Answered:
    valid = call.choices.licence_valid
    licence = {
        "Name": "simulated",
        "Type": "Site",
        "SerialNumber": "KR000000000",
        "Status": "Available" if valid else "Expired",
        "AllowedFeatures": "ALL",
    }
    said = envelope("license", "OK" if valid else "Fail", licence)
    return call.node, (200 if valid else 500, JSON, write_json(said))


def _command(call: Call) -> Answered:
    request = call.request
    name = request.path.removeprefix("/command/").removeprefix("async/")
    if name not in {"purge", "expire", "hardpurge"}:
        return call.node, failure(404, "Not Found", name)
    form = parse_qs(request.body.decode("latin-1"))
    url = request.query.get("url") or form.get("url", [""])[-1]
    if not url:
        return call.node, failure(400, "Bad Request", name)
    done = {"Count": len(url.split("|")), "Size": 0, "Time": 0}
    status = 201 if request.path.startswith("/command/async/") else 200
    return call.node, (status, JSON, write_json(envelope(name, "OK", done)))


def _metrics(call: Call) -> Answered:
    text = (
        "# TYPE m2_sys_setting_reload counter\n"
        f"m2_sys_setting_reload_total {call.node.reloads}\n"
        "# TYPE m2_sys_setting_reload_timestamp gauge\n"
        f"m2_sys_setting_reload_timestamp {call.reloaded:.0f}\n"
        "# TYPE m2_sys_setting_retentions gauge\n"
        f"m2_sys_setting_retentions {len(call.node.history)}\n"
        "# EOF\n"
    )
    kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    return call.node, (200, {"Content-Type": kind}, text.encode())


def _traffic(call: Call) -> Answered:
    host = {
        "Version": VERSION,
        "Name": "localhost",
        "State": "Healthy",
        "ClientSession": 0,
        "OriginSession": 0,
    }
    return call.node, (200, JSON, write_json({"Host": host}))


def _vhostslist(call: Call) -> Answered:
    names = [host.get("name") for host in _hosting(call)]
    return call.node, (200, JSON, write_json(envelope("vhostslist", "OK", names)))


def _fileinfo(call: Call) -> Answered:
    asked = "url" in call.request.query
    return call.node, failure(404, "Not Found", "fileinfo") if asked else failure(
        400, "Bad Request", "fileinfo"
    )


def _graph(call: Call) -> Answered:
    return call.node, (200, {"Content-Type": "image/png"}, PNG)


_VACANT: Final[Mapping[Vacant, Reply]] = {
    Vacant.EMPTY: (404, {}, b""),
    Vacant.TEXT: (404, {"Content-Type": "text/plain"}, b"404 page not found\n"),
    Vacant.PAGE: (404, {"Content-Type": "text/html"}, b"<html><body><h1>Not Found</h1></body></html>"),
    Vacant.ENVELOPE: failure(404, "setting.json is not loaded", "setting"),
}

_GET: Final = ("GET",)
_COMMANDS: Final = ("GET", "POST", "PURGE")

_EXACT: Final[Mapping[str, Route]] = {
    "/setting/setting.json": (_GET, _setting),
    "/setting/upload": (("POST",), _upload),
    "/setting/import": (("POST",), _upload),
    "/setting/download": (_GET, _download),
    "/setting/deploy/local": (_GET, _deploy_local),
    "/setting/deploy/checkout": (("GET", "POST"), _checkout),
    "/get/license": (_GET, _license),
    "/metrics": (_GET, _metrics),
    "/monitoring/realtime": (_GET, _traffic),
    "/monitoring/average": (_GET, _traffic),
    "/monitoring/vhostslist": (_GET, _vhostslist),
    "/monitoring/fileinfo": (_GET, _fileinfo),
    **{f"/graph/{span}.png": (_GET, _graph) for span in ("dash", "day", "week", "month", "year")},
}
_PREFIXES: Final[Mapping[str, Route]] = {
    "/get/setting": (_GET, _get_setting),
    "/get/hosting": (_GET, _get_hosting),
    "/command/": (_COMMANDS, _command),
}
