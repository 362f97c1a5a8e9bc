"""The contents of an offer as the store keeps them: written by the pass, read to answer a node; pure.

An offer of a setting is either a package, in the parts that many nodes share, or only the request to check
out. An offer of a purge has the list of its targets as its only part.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from reconciler.archive import tar
from reconciler.archive.deflate import DeflatedPart, inflate_part
from reconciler.core.plan import Payload, refuse_missing_secrets
from reconciler.drivers.m2.package import SETTING, PackageCache, PackageParts
from reconciler.drivers.m2.purge_targets import unpack_targets

_CHECKOUT: Final = b"checkout "
"""Beginning of the only part of an offer to check out; what the node is to have then follows."""

_MARK: Final = b"deflated"
_HEAD: Final = struct.Struct(">8sIQ")
"""Mark, CRC-32 and size of a compressed part, before its data."""


class UnreadableParts(ValueError):
    """The contents of an offer are not what this program wrote; the message says why."""


def write_package(payload: Payload, cache: PackageCache) -> tuple[bytes, ...]:
    """The parts of an offer of a package: that with `setting.json` first, then those of the resources.

    Raises:
        SecretError: a secret in it is not known here.
    """
    refuse_missing_secrets(payload)
    package = cache.parts(payload)
    return tuple(_encode(part) for part in (package.setting, *package.resources))


def write_checkout(content: str) -> tuple[bytes, ...]:
    """The parts of an offer to check out.

    Args:
        content: fingerprint of the setting that the node is expected to have then.
    """
    return (_CHECKOUT + content.encode(),)


def read_checkout(parts: Sequence[bytes]) -> str | None:
    """The fingerprint that `write_checkout` wrote; None if the offer is one of a package."""
    if len(parts) != 1 or not parts[0].startswith(_CHECKOUT):
        return None
    return parts[0].removeprefix(_CHECKOUT).decode()


@dataclass(frozen=True, slots=True)
class OfferedPackage:
    """The package that an offer delivers."""

    parts: PackageParts

    def setting(self) -> bytes:
        """Its `setting.json`, with secrets in clear.

        Raises:
            UnreadableParts: it is damaged.
        """
        files = _read_files(self.parts.setting)
        if SETTING not in files:
            raise UnreadableParts(f"there is no {SETTING}")
        return files[SETTING]

    def resources(self) -> Mapping[str, bytes]:
        """Path -> content of its other files.

        Raises:
            UnreadableParts: one is damaged.
        """
        return {
            path: data for part in self.parts.resources for path, data in _read_shared_files(part).items()
        }


def read_package(parts: Sequence[bytes]) -> OfferedPackage:
    """What `write_package` wrote.

    Raises:
        UnreadableParts: they are not the parts of a package.
    """
    if not parts:
        raise UnreadableParts("there are none")
    setting, *resources = parts
    return OfferedPackage(PackageParts(_decode(setting), tuple(map(_decode_shared, resources))))


def read_purge(parts: Sequence[bytes]) -> tuple[str, ...]:
    """The targets of an offer of a purge; `purge_targets.pack_targets` wrote them.

    Raises:
        UnreadableParts: they are not the parts of a purge.
    """
    try:
        (part,) = parts
        return unpack_targets(part)
    except (ValueError, TypeError) as error:
        raise UnreadableParts("they are not a list of targets") from error


def _encode(part: DeflatedPart) -> bytes:
    return _HEAD.pack(_MARK, part.crc, part.size) + part.data


def _decode(part: bytes) -> DeflatedPart:
    if len(part) < _HEAD.size or not part.startswith(_MARK):
        raise UnreadableParts("one of them is not part of a package")
    _, crc, size = _HEAD.unpack_from(part)
    return DeflatedPart(part[_HEAD.size :], crc, size)


def _read_files(part: DeflatedPart) -> dict[str, bytes]:
    try:
        text = inflate_part(part)
        # A part is whole members without the end of the archive.
        return {
            member.name: text[member.offset : member.offset + member.size]
            for member in tar.read_members(text + bytes(2 * tar.BLOCK))
        }
    except ValueError as error:
        raise UnreadableParts(f"one of them is damaged: {error}") from error


@lru_cache(maxsize=8)
def _decode_shared(part: bytes) -> DeflatedPart:
    """The same object for the same bytes: many downloads at a time hold a large part once."""
    return _decode(part)


@lru_cache(maxsize=8)
def _read_shared_files(part: DeflatedPart) -> Mapping[str, bytes]:
    return _read_files(part)
