"""The package in an upload: multipart bodies and tgz packages are read in memory.

It reads without `m2.package`: an error there must not be repeated by the simulator that tests it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from reconciler.archive import tar
from reconciler.archive.inflate import GZIP, ArchiveError, ArchiveLimits, inflate
from reconciler.drivers.m2.machine import ChangeRefused, NodePackage

LIMIT: Final = 64 * 1024 * 1024
"""Highest number of bytes of an unpacked package."""


def read_upload(
    headers: Mapping[str, str], body: bytes, part: str, beside: Mapping[str, bytes]
) -> NodePackage | ChangeRefused:
    """The package in an upload.

    A JSON body is `setting.json` alone, and the files on the node stay; a multipart body has a tgz of
    everything in the part with the name `api.multipartName`.

    Args:
        headers: of the request, names in lower case.
        body: of the request.
        part: the node's `api.multipartName`.
        beside: the files already on the node.
    """
    kind, _, parameters = headers.get("content-type", "").partition(";")
    if kind.strip().lower() == "application/json":
        return NodePackage(body, beside)
    if kind.strip().lower() != "multipart/form-data":
        return ChangeRefused("E0001", "the body is neither application/json nor multipart/form-data")
    if "content-length" not in headers:
        return ChangeRefused("E0001", "a multipart upload needs a Content-Length")
    boundary = re.search(r'boundary="?([^";]+)"?', parameters)
    content = split_multipart(body, boundary.group(1)).get(part) if boundary else None
    if content is None:
        return ChangeRefused("E0001", f"there is no part named {part!r}")
    return unpack_package(content)


def split_multipart(body: bytes, boundary: str) -> dict[str, bytes]:
    """The parts of a multipart body by the name of their Content-Disposition; a broken body gives none."""
    found: dict[str, bytes] = {}
    for piece in (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1"))[1:]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        name = re.search(rb'content-disposition:[^\r\n]*[; ]name="([^"]*)"', head, re.IGNORECASE)
        if blank and name:
            found[name.group(1).decode("utf-8", "replace")] = content
    return found


def unpack_package(content: bytes) -> NodePackage | ChangeRefused:
    """The package in a tgz: its `setting.json`, at the top or below one folder, and its other files."""
    if not content.startswith(GZIP):
        return ChangeRefused("E0002", "the package is not a tgz")
    try:
        plain = inflate(content, ArchiveLimits(LIMIT))
        files = {
            member.name.removeprefix("./"): plain[member.offset : member.offset + member.size]
            for member in tar.read_members(plain)
            if member.kind == "0"
        }
    except (ArchiveError, tar.MalformedTar) as error:
        return ChangeRefused("E0002", f"the package is not a tgz: {error}")
    name = min((name for name in files if name.split("/")[-1] == "setting.json"), key=len, default="")
    if not name:
        return ChangeRefused("E0003", "the package has no setting.json")
    top = name.removesuffix("setting.json")
    text = files.pop(name)
    return NodePackage(text, {path.removeprefix(top): data for path, data in sorted(files.items())})
