"""Uploads and packages: `setting.json` alone, or a reproducible tgz with its resources; pure."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from reconciler.archive import tar
from reconciler.archive.deflate import DeflatedPart, deflate_part, join_parts
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
    """The package of a payload; see `PackageParts`."""
    return pack_files(encode_setting(payload.document), payload.resources)


def pack_files(setting: bytes, resources: Mapping[str, bytes]) -> bytes:
    """The package of a `setting.json` and other files."""
    return PackageParts(deflate_setting(setting), deflate_resources(resources)).join()


@dataclass(frozen=True, slots=True)
class PackageParts:
    """A package in parts that are compressed one by one, so that nodes share all but the first.

    The package is a tgz without times and owners, so that the same payload gives the same bytes on every day
    and host.

    Args:
        setting: the member `setting.json`, which is different for each node.
        resources: the other files: the small ones together, then each large one, by path.
    """

    setting: DeflatedPart
    resources: tuple[DeflatedPart, ...] = ()

    def pieces(self) -> tuple[bytes, ...]:
        """The package, in pieces of which the large ones are not copied."""
        return join_parts((self.setting, *self.resources), _END)

    def join(self) -> bytes:
        """The package."""
        return b"".join(self.pieces())


_END: Final = DeflatedPart(bytes.fromhex("63601805a360148c540000"), 0xEFB5AF2E, 1024)
"""The end of a tar archive, two empty blocks, compressed: a constant, so that the bytes of a package that was
built before do not depend on the version of a library."""

_LARGE: Final = 256 * 1024
"""Bytes from which a resource is a part of its own: a new revision that does not change it shares it."""


def deflate_setting(setting: bytes) -> DeflatedPart:
    """The part of a package with its `setting.json`."""
    return deflate_part(_make_member(SETTING, setting))


def deflate_resources(resources: Mapping[str, bytes]) -> tuple[DeflatedPart, ...]:
    """The parts of a package with its other files."""
    files = sorted(resources.items())
    small = [piece for path, data in files if len(data) < _LARGE for piece in _make_member(path, data)]
    large = [deflate_part(_make_member(path, data)) for path, data in files if len(data) >= _LARGE]
    return (*([deflate_part(small)] if small else []), *large)


def _make_member(path: str, data: bytes) -> tuple[bytes, ...]:
    member = tarfile.TarInfo(path)
    member.size, member.mode = len(data), MODE
    header = member.tobuf(tarfile.GNU_FORMAT, errors="strict")
    return header, data, bytes(-len(data) % tar.BLOCK)


@dataclass(slots=True)
class PackageCache:
    """Packs payloads, and keeps the parts of the last resources for the next nodes that get them.

    Args:
        most: sets of resources that are kept in memory; each may be as large as its files.
    """

    most: int = 2
    # By identity: equal files would have to be compared byte by byte.
    _kept: list[tuple[tuple[tuple[str, bytes], ...], tuple[DeflatedPart, ...]]] = field(
        init=False, default_factory=list, repr=False
    )

    def parts(self, payload: Payload) -> PackageParts:
        """The package of a payload, in parts."""
        setting = deflate_setting(encode_setting(payload.document))
        return PackageParts(setting, self._deflate_resources(payload.resources))

    def tgz(self, payload: Payload) -> bytes:
        """The package of a payload; see `pack_tgz`."""
        return self.parts(payload).join()

    def _deflate_resources(self, resources: Mapping[str, bytes]) -> tuple[DeflatedPart, ...]:
        files = tuple(sorted(resources.items()))
        if not files:
            return ()
        for known, parts in self._kept:
            if len(known) == len(files) and all(
                one[0] == other[0] and one[1] is other[1] for one, other in zip(known, files, strict=True)
            ):
                return parts
        parts = deflate_resources(resources)
        self._kept = [(files, parts), *self._kept][: self.most]
        return parts


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
