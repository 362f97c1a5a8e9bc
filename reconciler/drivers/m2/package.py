"""Uploads and packages: `setting.json` alone, or a reproducible tgz with its resources; pure."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from reconciler.archive import tar
from reconciler.archive.inflate import GZIP, ArchiveError, ArchiveLimits, inflate
from reconciler.core.canonical import write_json
from reconciler.core.plan import Payload
from reconciler.core.secret import reveal
from reconciler.drivers.m2.canonical import fingerprint_clear, reveal_secret

SETTING: Final = "setting.json"
# A node, or who answers in its place, may send a gzip bomb: a few KB that unpack to terabytes, or to millions
# of empty members.
UNPACKED_LIMIT: Final = 128 * 1024 * 1024
MOST_MEMBERS: Final = 10_000
KINDS: Final = "0125"
"""Kinds of tar members that are accepted: files, hard and symbolic links, folders."""

MODE: Final = 0o644


class UnreadablePackage(ValueError):
    """A node's package cannot be read; the message completes a sentence that begins with "its package:"."""


def compute_digests(resources: Mapping[str, bytes]) -> dict[str, str]:
    """Path -> SHA-256, in hexadecimal, of files."""
    return {path: hashlib.sha256(data).hexdigest() for path, data in sorted(resources.items())}


def compute_payload_digest(document: Any, files: Mapping[str, str]) -> str:
    """The digest of a payload: SHA-256 over its document in clear and the digests of its resources."""
    # Not of the bytes on the wire: packing takes long, and a dry run needs the digest too.
    return fingerprint_clear({"document": document, "resources": files})


def encode_setting(document: Any) -> bytes:
    """`setting.json` as it is sent: UTF-8, indented, keys in the order of the file, secrets in clear."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_APPEND_NEWLINE
    try:
        return orjson.dumps(document, default=reveal_secret, option=options)
    except TypeError:  # orjson refuses integers beyond 64 bits
        return write_json(reveal(document), indent=True) + b"\n"


def pack_tgz(payload: Payload) -> bytes:
    """The package of a payload; see `pack_files`."""
    return pack_files(encode_setting(payload.document), payload.resources)


def pack_files(setting: bytes, resources: Mapping[str, bytes]) -> bytes:
    """A tgz: `setting.json` first, then the resources by path.

    Without times and owners, so that the same payload gives the same bytes on every day and host.
    """
    out = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path, data in ((SETTING, setting), *sorted(resources.items())):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), MODE
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@dataclass(slots=True)
class PackageCache:
    """Packs payloads, and keeps the last ones for the next nodes that get them.

    Args:
        most: packages that are kept in memory; each may be as large as its resources.
    """

    most: int = 2
    # By identity: an equal payload would have to be compared byte by byte with all resources.
    _kept: list[tuple[Payload, bytes]] = field(init=False, default_factory=list, repr=False)

    def tgz(self, payload: Payload) -> bytes:
        """The package of a payload; see `pack_tgz`."""
        for known, content in self._kept:
            if known is payload:
                return content
        content = pack_tgz(payload)
        self._kept = [(payload, content), *self._kept][: self.most]
        return content


def encode_body(
    payload: Payload, part: str, pack: Callable[[Payload], bytes] = pack_tgz
) -> tuple[str, bytes]:
    """(Content-Type, body) of an upload: JSON alone, or multipart with resources (M2 manual, API).

    Args:
        payload: what to send.
        part: `api.multipartName` of the setting that the node has loaded.
        pack: makes the package of a payload.
    """
    if not payload.resources:
        return "application/json", encode_setting(payload.document)
    content = pack(payload)
    # From the content, so that the bytes are reproducible, and no content is likely to have its own boundary.
    boundary = f"reconciler-{hashlib.sha256(content).hexdigest()[:32]}"
    # The name comes from a node: a quote or a line break in it could add a header to the part.
    name = part.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{name}"; filename="setting.tgz"\r\n'
        "Content-Type: application/x-compressed\r\n\r\n"
    )
    whole = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", whole


def list_held_files(package: bytes) -> dict[str, str]:
    """Path -> SHA-256 of the files in a node's package without its `setting.json`.

    Paths are relative to the folder of `setting.json`. Links and folders are left out. Nothing is written to
    disk.

    Raises:
        UnreadablePackage: the bytes are not a tgz, have no `setting.json`, have a sparse file or device, or
            unpack to more than `UNPACKED_LIMIT`.
    """
    if not package.startswith(GZIP):
        raise UnreadablePackage("it is not a tgz")
    try:
        found = _hash_members(inflate(package, ArchiveLimits(UNPACKED_LIMIT)))
    except ArchiveError as error:
        raise UnreadablePackage(f"it {error.message}") from error
    except tar.MalformedTar as error:
        raise UnreadablePackage(f"it is not a valid tar archive: {error}") from error
    setting = min((path for path in found if path.split("/")[-1] == SETTING), key=len, default=None)
    if setting is None:
        raise UnreadablePackage(f"it has no {SETTING}")
    top = setting.removesuffix(SETTING)
    return {path.removeprefix(top): text for path, text in sorted(found.items()) if path != setting}


def _hash_members(archive: bytes) -> dict[str, str]:
    """Name -> SHA-256 of the ordinary files; of a repeated name the last one counts, as in tar."""
    found: dict[str, str] = {}
    view = memoryview(archive)
    for number, member in enumerate(tar.read_members(archive)):
        if number >= MOST_MEMBERS:
            raise UnreadablePackage(f"it has more than {MOST_MEMBERS:,} members")
        if member.kind not in KINDS:
            what = tar.SPECIAL.get(member.kind, f"of the unknown kind {member.kind!r}")
            raise UnreadablePackage(f"member {number + 1} is {what}")
        if member.kind == "0":
            contents = view[member.offset : member.offset + member.size]
            found[member.name.removeprefix("./")] = hashlib.sha256(contents).hexdigest()
    return found
