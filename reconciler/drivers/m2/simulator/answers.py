"""What one M2 node answers to one request: pure functions from a node's state to bytes."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

from reconciler.core.canonical import write_json
from reconciler.core.json_reader import read_json
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.access import PERMISSION_OF, find_access
from reconciler.drivers.m2.choices import (
    BackupBehaviour,
    SettingAnswer,
    UnlistedAnswer,
    UploadBehaviour,
    VacantAnswer,
)
from reconciler.drivers.m2.simulator.package import pack_package, read_upload
from reconciler.drivers.m2.simulator.wire import (
    CLOSED,
    JSON,
    VERSION,
    AllowedCall,
    Reply,
    make_envelope,
    make_failure,
)

PNG: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)
"""One white pixel."""


Answered: TypeAlias = tuple[machine.M2NodeState, Reply]
"""The node after the request, and what it answered."""

Route: TypeAlias = tuple[tuple[str, ...], Callable[[AllowedCall], Answered]]


def answer_request(call: AllowedCall) -> Answered:
    """What a node does with a request: permission first, then path, then method.

    Assumed: a stranger is turned away whatever it asks for; someone known learns that a path does not
    exist, without needing a permission for it.
    """
    request, node = call.request, call.node
    rights = find_access(node.running, call.choices.caller or request.peer, call.choices)
    if not rights.listed:
        return node, CLOSED if call.choices.unlisted is UnlistedAnswer.CLOSED else make_failure(
            401, "Unauthorized"
        )
    route = _route(request.path)
    if route is None:
        return node, make_failure(404, "Not Found")
    methods, answer = route
    if PERMISSION_OF[request.path.split("/")[1]] not in rights.permissions:
        return node, make_failure(401, "Unauthorized")
    if request.method not in methods:
        status, headers, body = make_failure(405, "Method Not Allowed")
        return node, (status, {**headers, "Allow": ", ".join(methods)}, body)
    return answer(call)


def _route(path: str) -> Route | None:
    if path in _EXACT:
        return _EXACT[path]
    return next((route for prefix, route in _PREFIXES.items() if path.startswith(prefix)), None)


def _setting(call: AllowedCall) -> Answered:
    node = call.node
    if node.loaded is None or node.running is None:
        return node, _VACANT[call.choices.vacant]
    if call.choices.shown is SettingAnswer.SERVICE and machine.find_waiting_fields(node):
        return node, (200, JSON, write_json(node.running))
    return node, (200, JSON, node.loaded.package.text)


def _upload(call: AllowedCall) -> Answered:
    node = call.node
    api = machine.lookup(node.running or {}, "env.management.api") or {}
    beside = node.loaded.package.resources if node.loaded else {}
    package = read_upload(
        call.request.headers, call.request.body, api.get("multipartName", "settingFile"), beside
    )
    if call.choices.takes is UploadBehaviour.REDIRECTS:
        return node, (307, {"Location": "http://192.0.2.1/setting/upload"}, b"")
    if isinstance(package, machine.NodePackage):
        package = _altered(package, call.choices.takes)
    taken = package if isinstance(package, machine.ChangeRefused) else machine.upload(node, package)
    if call.choices.takes is UploadBehaviour.KEEPS and isinstance(taken, machine.ChangeAccepted):
        taken = machine.ChangeAccepted(node)
    return _told(node, taken, 500)


def _altered(
    package: machine.NodePackage, takes: UploadBehaviour
) -> machine.NodePackage | machine.ChangeRefused:
    """A package as the node takes it, where that is another way than it was sent."""
    if takes is UploadBehaviour.REFUSES:
        return machine.ChangeRefused("E0004", "the content is not accepted")
    if takes not in {UploadBehaviour.ADDS, UploadBehaviour.CASE}:
        return package
    document = read_json(package.text, machine.LIMITS)
    if takes is UploadBehaviour.ADDS:
        document["licensed"] = True
    else:
        document["hosting"] = [
            {**host, "name": str(host.get("name", "")).upper()} for host in document.get("hosting", [])
        ]
    return machine.NodePackage(write_json(document), package.resources)


def _deploy_local(call: AllowedCall) -> Answered:
    return _told(call.node, machine.deploy_local(call.node), 200)


def _checkout(call: AllowedCall) -> Answered:
    return _told(call.node, machine.checkout(call.node), 500)


def _told(
    node: machine.M2NodeState, taken: machine.ChangeAccepted | machine.ChangeRefused, failed: int
) -> Answered:
    """A change's answer; `notupdated` stands in it only where something waits, as in the pages."""
    if isinstance(taken, machine.ChangeRefused):
        said = make_envelope("reloadall", "Fail", f"{taken.code} {taken.reason}")
        return node, (failed, JSON, write_json(said))
    said = make_envelope("reloadall", "OK", "accepted")
    if taken.waiting:
        said["notupdated"] = [
            {"field": item.field, "cur": item.current, "new": item.asked} for item in taken.waiting
        ]
    return taken.node, (200, JSON, write_json(said))


def _download(call: AllowedCall) -> Answered:
    node = call.node
    if call.choices.backup is BackupBehaviour.DISABLED:
        return node, make_failure(406, "the backup function is disabled", "download")
    if not node.history:
        return node, make_failure(500, "there is no history", "download")
    if call.choices.backup is BackupBehaviour.LOST:
        return node, make_failure(404, "the backup file is missing", "download")
    return node, (200, {"Content-Type": "application/x-compressed"}, pack_package(node.history[-1].package))


def _get_setting(call: AllowedCall) -> Answered:
    node = call.node
    selector, _, form = call.request.path.removeprefix("/get/setting").partition("/")
    path = parse_selector(selector)
    if path is None or form not in {"", "running", "artifact"}:
        return node, make_failure(400, "Bad Request", "setting")
    if node.loaded is None or node.running is None:
        return node, make_failure(500, "setting.json is not loaded", "setting")
    try:
        value = select_value(node.loaded.document if form == "artifact" else node.running, path)
    except SelectorMiss as missing:
        return node, make_failure(404, f"there is no {missing}", "setting")
    return node, (200, JSON, write_json(value))


def _get_hosting(call: AllowedCall) -> Answered:
    path = parse_selector(call.request.path.removeprefix("/get/hosting"))
    if path is None:
        return call.node, make_failure(400, "Bad Request", "hosting")
    try:
        found = select_value(
            {"hosting": (call.node.running or {}).get("hosting", [])}, [("hosting", ""), *path[-1:]]
        )
    except SelectorMiss as missing:
        return call.node, make_failure(404, f"there is no {missing}", "hosting")
    hosts = found if isinstance(found, list) else [found]
    summary = [
        {"name": host.get("name"), "enable": host.get("enable", True), "listen": host.get("listen", "*:80")}
        for host in hosts
    ]
    return call.node, (200, JSON, write_json(make_envelope("hosting", "OK", summary)))


def _hosting(call: AllowedCall) -> list[Any]:
    return machine.lookup(call.node.running, "hosting") or []


def _license(call: AllowedCall) -> Answered:
    valid = call.choices.licence_valid
    licence = {
        "Name": "simulated",
        "Type": "Site",
        "SerialNumber": "KR000000000",
        "Status": "Available" if valid else "Expired",
        "AllowedFeatures": "ALL",
    }
    said = make_envelope("license", "OK" if valid else "Fail", licence)
    return call.node, (200 if valid else 500, JSON, write_json(said))


def _command(call: AllowedCall) -> Answered:
    request = call.request
    name = request.path.removeprefix("/command/").removeprefix("async/")
    if name not in {"purge", "expire", "hardpurge"}:
        return call.node, make_failure(404, "Not Found", name)
    form = parse_qs(request.body.decode("latin-1"))
    url = request.query.get("url") or form.get("url", [""])[-1]
    if not url:
        return call.node, make_failure(400, "Bad Request", name)
    done = {"Count": len(url.split("|")), "Size": 0, "Time": 0}
    status = 201 if request.path.startswith("/command/async/") else 200
    return call.node, (status, JSON, write_json(make_envelope(name, "OK", done)))


def _metrics(call: AllowedCall) -> Answered:
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


def _traffic(call: AllowedCall) -> Answered:
    host = {
        "Version": VERSION,
        "Name": "localhost",
        "State": "Healthy",
        "ClientSession": 0,
        "OriginSession": 0,
    }
    return call.node, (200, JSON, write_json({"Host": host}))


def _vhostslist(call: AllowedCall) -> Answered:
    names = [host.get("name") for host in _hosting(call)]
    return call.node, (200, JSON, write_json(make_envelope("vhostslist", "OK", names)))


def _fileinfo(call: AllowedCall) -> Answered:
    asked = "url" in call.request.query
    return call.node, make_failure(404, "Not Found", "fileinfo") if asked else make_failure(
        400, "Bad Request", "fileinfo"
    )


def _graph(call: AllowedCall) -> Answered:
    return call.node, (200, {"Content-Type": "image/png"}, PNG)


_VACANT: Final[Mapping[VacantAnswer, Reply]] = {
    VacantAnswer.EMPTY: (404, {}, b""),
    VacantAnswer.TEXT: (404, {"Content-Type": "text/plain"}, b"404 page not found\n"),
    VacantAnswer.PAGE: (404, {"Content-Type": "text/html"}, b"<html><body><h1>Not Found</h1></body></html>"),
    VacantAnswer.ENVELOPE: make_failure(404, "setting.json is not loaded", "setting"),
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


_TOKEN = re.compile(r"\.([^.\[\]]+)|\[(?:name=)?([^\[\]]+)\]")


class SelectorMiss(LookupError):
    """The setting has nothing there."""


def parse_selector(text: str) -> list[tuple[str, str]] | None:
    """A selector as (key, "") and ("", index) in turn; None where it cannot be read.

    A selector that begins with an index means `hosting`.
    """
    found: list[tuple[str, str]] = [("hosting", "")] if text.startswith("[") else []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if not match:
            return None
        found.append((match.group(1) or "", match.group(2) or ""))
        place = match.end()
    return found


def select_value(document: Mapping[str, Any], path: list[tuple[str, str]]) -> Any:
    """The value at a path; an index is a number or the `name` of an item.

    Raises:
        Missing: there is none.
    """
    value: Any = document
    for key, index in path:
        if key and isinstance(value, Mapping) and key in value:
            value = value[key]
        elif index and isinstance(value, list):
            value = _item(value, index)
        else:
            raise SelectorMiss(key or index)
    return value


def _item(items: list[Any], index: str) -> Any:
    if index.isdigit() and int(index) < len(items):
        return items[int(index)]
    for item in items:
        if isinstance(item, Mapping) and item.get("name") == index:
            return item
    raise SelectorMiss(index)
