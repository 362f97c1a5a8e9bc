"""Strict stand-ins of the APIs of EC2 and OCI: they check each signature, and answer in pages."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, parse_qsl, urlsplit
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.aws_requests import Keys, find_fault
from support.http_servers import listening

REGION = "eu-test-1"
COMPARTMENT = "ocid1.compartment.oc1..aaaatest"
TENANCY, USER = "ocid1.tenancy.oc1..aaaatest", "ocid1.user.oc1..aaaatest"
FINGERPRINT = "20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34"
SKEW = 300
CUT = object()
"""In place of an answer: half of it, then the connection is closed."""


@dataclass
class Vm:
    """One instance."""

    id: str
    address: str | None = "10.20.0.1"
    tags: dict[str, str] = field(default_factory=lambda: {"edge": "yes"})
    code: int = 16
    state: str = "running"
    name: str = ""


class CloudServer:
    """Answers requests one by one; `faults` are given instead of the next answers, None for a good one."""

    def __init__(self, vms=(), *, page=1000):
        self.vms = list(vms)
        self.page = page
        self.faults: list[object] = []
        self.requests: list[tuple[str, str, bytes]] = []
        self.denied: list[str] = []

    @asynccontextmanager
    async def running(self):
        async with listening(self._serve) as url:
            self.url = url
            yield self

    async def _serve(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")[:-2]
                method, target, _ = first.split(" ")
                headers = {
                    name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((method, target, body))
                fault = self.faults.pop(0) if self.faults else None
                if isinstance(fault, float):
                    await asyncio.sleep(fault)
                    fault = None
                status, more, answer = self._choose(fault, method, target, headers, body)
                shown = "".join(f"{name}: {value}\r\n" for name, value in more.items())
                reply = (
                    f"HTTP/1.1 {status} X\r\nContent-Length: {len(answer)}\r\n{shown}\r\n".encode() + answer
                )
                writer.write(reply[: len(reply) - len(answer) // 2] if fault is CUT else reply)
                await writer.drain()
                if fault is CUT:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _choose(self, fault, method, target, headers, body):
        if isinstance(fault, int) and not isinstance(fault, bool):
            return fault, {}, b"<Error>this server has a fault</Error>"
        if isinstance(fault, bytes):
            return 200, {}, fault
        denied = self.find_fault(method, target, headers, body)
        if denied:
            self.denied.append(denied)
            return 401, {}, denied.encode()
        return self.answer(method, target, body)


class Ec2Server(CloudServer):
    """`DescribeInstances` of EC2, for one key pair; the filters of the request are obeyed."""

    keys = Keys()

    def find_fault(self, method, target, headers, body):
        return find_fault(method, target, headers, body, keys=self.keys, region=REGION, service="ec2")

    def answer(self, method, target, body):
        form = dict(parse_qsl(body.decode(), strict_parsing=True))
        assert (method, target, form["Action"], form["Version"]) == (
            "POST",
            "/",
            "DescribeInstances",
            "2016-11-15",
        )
        filters = {}
        for name, value in form.items():
            if found := re.fullmatch(r"Filter\.(\d+)\.Name", name):
                filters[value] = {form[key] for key in form if key.startswith(f"Filter.{found[1]}.Value.")}
        assert filters.keys() == {"instance-state-name", "tag-key"}
        keys = {key.replace("\\", "") for key in filters["tag-key"]}
        found = [
            one
            for one in self.vms
            if one.state.lower() in filters["instance-state-name"] and keys & one.tags.keys()
        ]
        start, size = int(form.get("NextToken", 0)), min(self.page, int(form["MaxResults"]))
        more = f"<nextToken>{start + size}</nextToken>" if start + size < len(found) else ""
        items = "".join(map(self._show, found[start : start + size]))
        return (
            200,
            {},
            (
                '<?xml version="1.0" encoding="UTF-8"?>\n'
                '<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
                f"<requestId>r</requestId><reservationSet>{items}</reservationSet>{more}</DescribeInstancesResponse>"
            ).encode(),
        )

    def _show(self, vm):
        tags = {**vm.tags, **({"Name": vm.name} if vm.name else {})}
        shown = "".join(
            f"<item><key>{escape(key)}</key><value>{escape(value)}</value></item>"
            for key, value in tags.items()
        )
        address = f"<privateIpAddress>{vm.address}</privateIpAddress>" if vm.address else ""
        return (
            f"<item><instancesSet><item><instanceId>{vm.id}</instanceId><instanceState><code>{vm.code}</code>"
            f"<name>{vm.state}</name></instanceState>{address}<tagSet>{shown}</tagSet></item></instancesSet></item>"
        )


class OciServer(CloudServer):
    """Instances and network interfaces of OCI, for one key."""

    def __init__(self, vms=(), *, page=1000, spelling="freeformTags"):
        super().__init__(vms, page=page)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.spelling = spelling

    @property
    def pem(self):
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def find_fault(self, method, target, headers, body):
        return find_oci_fault(method, target, headers, self.key.public_key())

    def answer(self, method, target, body):
        parts = urlsplit(target)
        query = (
            {key: values[0] for key, values in parse_qs(parts.query, strict_parsing=True).items()}
            if parts.query
            else {}
        )
        assert method == "GET"
        assert parts.path.startswith("/20160918/"), parts.path
        kind, _, number = parts.path.removeprefix("/20160918/").partition("/")
        if kind == "vnics":
            return 200, {}, json.dumps(self._show_card(number)).encode()
        assert query.pop("compartmentId") == COMPARTMENT
        items = self._list_instances(query) if kind == "instances" else self._list_attachments()
        start, size = int(query.get("page", 0)), min(self.page, int(query["limit"]))
        more = {"opc-next-page": str(start + size)} if start + size < len(items) else {}
        return 200, more, json.dumps(items[start : start + size]).encode()

    def _list_instances(self, query):
        return [
            {
                "id": vm.id,
                "displayName": vm.name,
                "lifecycleState": vm.state.upper(),
                "compartmentId": COMPARTMENT,
                self.spelling: vm.tags,
            }
            for vm in self.vms
            if vm.state.upper() == query["lifecycleState"]
        ]

    def _list_attachments(self):
        found = []
        for vm in self.vms:
            for kind in ("second", "first"):
                card = f"ocid1.vnic.oc1.eu.{kind}-{vm.id.rpartition('.')[2]}"
                found.append({"instanceId": vm.id, "vnicId": card, "lifecycleState": "ATTACHED"})
        return found

    def _show_card(self, number):
        kind, _, end = number.rpartition(".")[2].partition("-")
        (vm,) = [one for one in self.vms if one.id.endswith(f".{end}")]
        first = kind == "first"
        return {"id": number, "isPrimary": first, "privateIp": vm.address if first else "10.99.0.9"}


SIGNATURE = re.compile(
    r'Signature algorithm="rsa-sha256",headers="(?P<names>[^"]+)",keyId="(?P<key>[^"]+)",'
    r'signature="(?P<signature>[^"]+)",version="1"'
)


def find_oci_fault(method, target, headers, public_key, *, now=None):
    """What is wrong with the signature of a request; empty for nothing."""
    found = SIGNATURE.fullmatch(headers.get("authorization", ""))
    if not found:
        return "NotAuthenticated: no signature"
    if found["key"] != f"{TENANCY}/{USER}/{FINGERPRINT}":
        return "NotAuthenticated: unknown key"
    names = found["names"].split(" ")
    if not {"date", "(request-target)", "host"} <= set(names):
        return "NotAuthenticated: too little is signed"
    sent = parsedate_to_datetime(headers["date"])
    if abs(((now or datetime.now(UTC)) - sent).total_seconds()) > SKEW:
        return "NotAuthenticated: the clock"
    shown = {**headers, "(request-target)": f"{method.lower()} {target}"}
    text = "\n".join(f"{name}: {shown[name]}" for name in names)
    try:
        public_key.verify(base64.b64decode(found["signature"]), text.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return "NotAuthenticated: wrong signature"
    return ""
