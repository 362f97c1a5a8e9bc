"""What one M2 node answers to one request: pure functions from a node's state to bytes."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, unquote

from reconciler.core.canonical import write_json
from reconciler.core.json_reader import read_json
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.caller_permissions import PERMISSION_OF, find_access
from reconciler.drivers.m2.choices import (
    BackupBehaviour,
    Choices,
    SettingAnswer,
    UnlistedAnswer,
    UploadBehaviour,
    VacantAnswer,
)
from reconciler.drivers.m2.package import pack_files
from reconciler.drivers.m2.simulator.cache import NodeCache
from reconciler.drivers.m2.simulator.package import read_upload
from reconciler.ports.simulator import NodeRequest

Reply: TypeAlias = tuple[int, dict[str, str], bytes]
"""Status, headers and body of an answer."""

CLOSED: Final[Reply] = (0, {}, b"")
"""No answer: the connection is closed."""

VERSION: Final = "1.1.0"
"""The product version in the answers, from the manual's examples."""

JSON: Final = {"Content-Type": "application/json"}

PNG: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)
"""One white pixel."""

Answered: TypeAlias = tuple[machine.M2NodeState, Reply]
"""The node after the request, and its answer."""


@dataclass(frozen=True, slots=True)
class NodeCall:
    """A request to a node.

    Args:
        node: its state before the request.
        reloaded: when it accepted its last setting, in seconds since the epoch.
        cache: gives its files, which a purge removes.
    """

    node: machine.M2NodeState
    request: NodeRequest
    choices: Choices
    reloaded: float
    cache: Callable[[], NodeCache]

    @property
    def path(self) -> str:
        """The path without query, percent-decoded."""
        return unquote(self.request.target.partition("?")[0])

    @property
    def url(self) -> str:
        """The parameter `url`, of the query or of a form."""
        form = parse_qs(self.request.body.decode("latin-1"))
        return self.query.get("url") or form.get("url", [""])[-1]

    @property
    def query(self) -> dict[str, str]:
        """The last value of each query parameter."""
        return {name: values[-1] for name, values in parse_qs(self.request.target.partition("?")[2]).items()}


Route: TypeAlias = tuple[tuple[str, ...], Callable[[NodeCall], Answered]]


def answer_request(call: NodeCall) -> Answered:
    """What a node does with a request: permission first, then path, then method."""
    request, node, path = call.request, call.node, call.path
    # The order is an assumption, and the strictest one: an unlisted caller does not learn which paths exist.
    rights = find_access(node.running, call.choices.caller or request.peer, call.choices)
    if not rights.listed:
        return node, CLOSED if call.choices.unlisted is UnlistedAnswer.CLOSED else make_failure(
            401, "Unauthorized"
        )
    prefix = next((prefix for prefix in _PREFIXES if path.startswith(prefix)), "")
    route = _EXACT.get(path) or _PREFIXES.get(prefix)
    if route is None:
        return node, make_failure(404, "Not Found")
    methods, answer = route
    if PERMISSION_OF[path.split("/")[1]] not in rights.permissions:
        return node, make_failure(401, "Unauthorized")
    if request.method not in methods:
        status, headers, body = make_failure(405, "Method Not Allowed")
        return node, (status, {**headers, "Allow": ", ".join(methods)}, body)
    return answer(call)


def make_envelope(method: str, status: str, result: Any) -> dict[str, Any]:
    """The object of every JSON answer except settings."""
    return {"version": VERSION, "method": method, "status": status, "result": result}


def make_failure(status: int, reason: str, method: str = "") -> Reply:
    """A refusal in M2's form."""
    return status, JSON, write_json(make_envelope(method, "Fail", reason))


def _setting(call: NodeCall) -> Answered:
    node = call.node
    if node.loaded is None or node.running is None:
        return node, _VACANT[call.choices.vacant]
    if call.choices.takes is UploadBehaviour.COUNTS:
        node = _count_up(node)
    assert node.loaded is not None
    # M2's pages do not say which of the two the call shows; the reconciler has to work with either.
    if call.choices.shown is SettingAnswer.SERVICE and machine.find_waiting_fields(node):
        return node, (200, JSON, write_json(node.running))
    return node, (200, JSON, node.loaded.package.text)


def _count_up(node: machine.M2NodeState) -> machine.M2NodeState:
    """The node with a higher count of its own in each of its virtual hosts."""
    assert node.loaded is not None
    assert node.running is not None
    document, running = _add_count(node.loaded.document), _add_count(node.running)
    package = machine.NodePackage(write_json(document), node.loaded.package.resources)
    return replace(node, loaded=machine.AcceptedSetting(document, package), running=running)


def _add_count(document: Mapping[str, Any]) -> dict[str, Any]:
    hosts = document.get("hosting")
    if not isinstance(hosts, list):
        return dict(document)
    counted = []
    for host in hosts:
        known = machine.lookup(host, "stats.reads") if isinstance(host, Mapping) else None
        reads = known + 1 if isinstance(known, int) else 1
        counted.append({**host, "stats": {"reads": reads}} if isinstance(host, Mapping) else host)
    return {**document, "hosting": counted}


def _upload(call: NodeCall) -> Answered:
    node, takes = call.node, call.choices.takes
    if takes is UploadBehaviour.REDIRECTS:
        return node, (307, {"Location": "http://192.0.2.1/setting/upload"}, b"")
    api = machine.lookup(node.running or {}, "env.management.api") or {}
    beside = node.loaded.package.resources if node.loaded else {}
    return load_package(
        node,
        read_upload(call.request.headers, call.request.body, api.get("multipartName", "settingFile"), beside),
        takes,
    )


def load_package(
    node: machine.M2NodeState,
    package: machine.NodePackage | machine.ChangeRefused,
    takes: UploadBehaviour,
) -> Answered:
    """What a node does with a package, and the answer to the call of the API that brought it."""
    if isinstance(package, machine.NodePackage):
        package = _alter_package(package, takes)
    result = package if isinstance(package, machine.ChangeRefused) else machine.upload(node, package)
    # `OK` without an effect: only reading back finds this fault.
    if takes is UploadBehaviour.KEEPS and isinstance(result, machine.ChangeAccepted):
        result = machine.ChangeAccepted(node)
    return answer_change(node, result, 500)


def _alter_package(
    package: machine.NodePackage, takes: UploadBehaviour
) -> machine.NodePackage | machine.ChangeRefused:
    """The package that the node loads instead of the uploaded one."""
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


def answer_change(
    node: machine.M2NodeState, result: machine.ChangeAccepted | machine.ChangeRefused, failed: int
) -> Answered:
    """The answer to a change; `failed` is the status of a refusal, which differs between calls."""
    if isinstance(result, machine.ChangeRefused):
        return node, make_failure(failed, f"{result.code} {result.reason}", "reloadall")
    body = make_envelope("reloadall", "OK", "accepted")
    # As in the manual's examples, the key is absent where no field waits for a restart.
    if result.waiting:
        body["notupdated"] = [
            {"field": item.field, "cur": item.current, "new": item.asked} for item in result.waiting
        ]
    return result.node, (200, JSON, write_json(body))


def _download(call: NodeCall) -> Answered:
    node = call.node
    if call.choices.backup is BackupBehaviour.DISABLED:
        return node, make_failure(406, "the backup function is disabled", "download")
    if not node.history:
        return node, make_failure(500, "there is no history", "download")
    if call.choices.backup is BackupBehaviour.LOST:
        return node, make_failure(404, "the backup file is missing", "download")
    last = node.history[-1].package
    packed = pack_files(last.text, last.resources)
    return node, (200, {"Content-Type": "application/x-compressed"}, packed)


def _get_setting(call: NodeCall) -> Answered:
    node = call.node
    selector, _, form = call.path.removeprefix("/get/setting").partition("/")
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


def _get_hosting(call: NodeCall) -> Answered:
    path = parse_selector(call.path.removeprefix("/get/hosting"))
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


def _license(call: NodeCall) -> Answered:
    valid = call.choices.licence_valid
    licence = {
        "Name": "simulated",
        "Type": "Site",
        "SerialNumber": "KR000000000",
        "Status": "Available" if valid else "Expired",
        "AllowedFeatures": "ALL",
    }
    body = make_envelope("license", "OK" if valid else "Fail", licence)
    return call.node, (200 if valid else 500, JSON, write_json(body))


def perform_command(call: NodeCall) -> Answered:
    """What a call of `/command/…` does, and its answer."""
    name = call.path.removeprefix("/command/").removeprefix("async/")
    if name not in {"purge", "expire", "hardpurge"}:
        return call.node, make_failure(404, "Not Found", name)
    url = call.url
    if not url:
        return call.node, make_failure(400, "Bad Request", name)
    count, size = call.cache().purge(url, keeps=name == "expire")
    done = {"Count": count, "Size": size, "Time": 0}
    status = 201 if call.path.startswith("/command/async/") else 200
    return call.node, (status, JSON, write_json(make_envelope(name, "OK", done)))


def make_queued_purge() -> Reply:
    """The answer to a purge that is only queued: what it removes is not known yet."""
    return 200, JSON, write_json(make_envelope("purge", "OK", {"Count": 0, "Size": 0, "Time": 0}))


def _metrics(call: NodeCall) -> Answered:
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


def _traffic(call: NodeCall) -> Answered:
    host = {
        "Version": VERSION,
        "Name": "localhost",
        "State": "Healthy",
        "ClientSession": 0,
        "OriginSession": 0,
    }
    return call.node, (200, JSON, write_json({"Host": host}))


def _list_hostings(call: NodeCall) -> Answered:
    names = [host.get("name") for host in machine.lookup(call.node.running, "hosting") or []]
    return call.node, (200, JSON, write_json(make_envelope("vhostslist", "OK", names)))


_VACANT: Final[Mapping[VacantAnswer, Reply]] = {
    VacantAnswer.EMPTY: (404, {}, b""),
    VacantAnswer.TEXT: (404, {"Content-Type": "text/plain"}, b"404 page not found\n"),
    VacantAnswer.PAGE: (404, {"Content-Type": "text/html"}, b"<html><body><h1>Not Found</h1></body></html>"),
    VacantAnswer.ENVELOPE: make_failure(404, "setting.json is not loaded", "setting"),
}

_GET: Final = ("GET",)

_EXACT: Final[Mapping[str, Route]] = {
    "/setting/setting.json": (_GET, _setting),
    "/setting/upload": (("POST",), _upload),
    "/setting/import": (("POST",), _upload),
    "/setting/download": (_GET, _download),
    # A refused local deployment is answered with 200 too (M2 manual, API): only the body shows the failure.
    "/setting/deploy/local": (
        _GET,
        lambda call: answer_change(call.node, machine.deploy_local(call.node), 200),
    ),
    "/setting/deploy/checkout": (
        ("GET", "POST"),
        lambda call: answer_change(call.node, machine.checkout(call.node), 500),
    ),
    "/get/license": (_GET, _license),
    "/metrics": (_GET, _metrics),
    "/monitoring/realtime": (_GET, _traffic),
    "/monitoring/average": (_GET, _traffic),
    "/monitoring/vhostslist": (_GET, _list_hostings),
    # A simulated node caches nothing, so no file is known; without a URL the request itself is wrong.
    "/monitoring/fileinfo": (
        _GET,
        lambda call: (
            call.node,
            make_failure(*((404, "Not Found") if "url" in call.query else (400, "Bad Request")), "fileinfo"),
        ),
    ),
    **dict.fromkeys(
        (f"/graph/{span}.png" for span in ("dash", "day", "week", "month", "year")),
        (_GET, lambda call: (call.node, (200, {"Content-Type": "image/png"}, PNG))),
    ),
}
_PREFIXES: Final[Mapping[str, Route]] = {
    "/get/setting": (_GET, _get_setting),
    "/get/hosting": (_GET, _get_hosting),
    "/command/": (("GET", "POST", "PURGE"), perform_command),
}


_TOKEN = re.compile(r"\.([^.\[\]]+)|\[(?:name=)?([^\[\]]+)\]")


class SelectorMiss(LookupError):
    """The setting has no such key or item."""


def parse_selector(text: str) -> list[tuple[str, str]] | None:
    """A selector as (key, "") and ("", index) in turn; None where it is malformed.

    A selector that begins with an index means `hosting`.
    """
    found: list[tuple[str, str]] = [("hosting", "")] if text.startswith("[") else []
    end = 0
    while end < len(text):
        match = _TOKEN.match(text, end)
        if not match:
            return None
        found.append((match.group(1) or "", match.group(2) or ""))
        end = match.end()
    return found


def select_value(document: Mapping[str, Any], path: list[tuple[str, str]]) -> Any:
    """The value at a path; an index is a number or the `name` of an item.

    Raises:
        SelectorMiss: the path does not exist.
    """
    value: Any = document
    for key, index in path:
        if key and isinstance(value, Mapping) and key in value:
            value = value[key]
        elif index and isinstance(value, list):
            value = _select_item(value, index)
        else:
            raise SelectorMiss(key or index)
    return value


def _select_item(items: list[Any], index: str) -> Any:
    if index.isdigit() and int(index) < len(items):
        return items[int(index)]
    for item in items:
        if isinstance(item, Mapping) and item.get("name") == index:
            return item
    raise SelectorMiss(index)
