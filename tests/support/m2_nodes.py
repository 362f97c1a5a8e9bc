"""Simulated M2 nodes asked without sockets: one cluster, one setting, one line a request."""

from __future__ import annotations

import io
import json
import tarfile

from reconciler.ports.simulator import NodeRequest
from support import m2_wire

SETTING = {
    "meta": {"version": "A"},
    "env": {
        "management": {
            "api": {
                "port": 10040,
                "allowList": [
                    {"role": "admin", "addr": "127.0.0.1"},
                    {"role": "user", "addr": "127.0.0.2"},
                    {"role": "ghost", "addr": "127.0.0.3"},
                ],
            },
        },
        "network": {"http": {"recvBufferSize": 8192}},
    },
    "functions": {},
    "hosting": [{"name": "example.com", "listen": "*:80"}, {"name": "b.com", "enable": False}],
}


def world(choices=None, *, document=SETTING, **more):
    return m2_wire.world(document, choices=choices, **more)


def ask(nodes, method, target, body=b"", *, peer="127.0.0.1", **headers):
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    status, answered, content = nodes.answer("edge-01", NodeRequest(method, target, sent, body, peer))
    return status, answered.get("Content-Type", ""), content


def upload(nodes, document, target="/setting/upload", **where):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return ask(nodes, "POST", target, body, content_type="application/json", **where)


def form(content, part="settingFile"):
    head = f'--XX\r\nContent-Disposition: form-data; name="{part}"; filename="p.tgz"\r\n'
    body = head.encode() + b"Content-Type: application/gzip\r\n\r\n" + content + b"\r\n--XX--\r\n"
    return {
        "body": body,
        "content_type": "multipart/form-data; boundary=XX",
        "content_length": str(len(body)),
    }


def tgz(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "/").replace("_", "."))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def changed(**meta):
    return SETTING | {"meta": {"version": "B", **meta}}


def shown(nodes):
    return json.loads(ask(nodes, "GET", "/setting/setting.json")[2])


GOOD = json.dumps(SETTING).encode()
