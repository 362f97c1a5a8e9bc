"""A strict reader of tar archives (ustar, pax, GNU long names): bytes in, members out, pure.

The reader of the standard library is made for archives that the user trusts: in supported versions of Python
an archive can make it loop endlessly (CVE-2025-8194) or backtrack (CVE-2024-6232), and it skips what it does
not understand. Here every header must be valid, and each byte belongs to one member.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

BLOCK = 512
LONGEST_EXTENSION = 1024 * 1024
EXTENSIONS = "xgLK"
KEYS = frozenset({"path", "linkpath", "size"})
"""Pax records that change a member."""

SPECIAL = {
    "3": "a character device",
    "4": "a block device",
    "6": "a fifo",
    "S": "a sparse file",
    "M": "a part of a file in another volume",
}
"""Types of members that are not read, with their names."""

SPARSE = "GNU.sparse"
"""Beginning of the keys of pax records that make a member a sparse file."""

EMPTY = "123456"
"""Types without contents, whatever size their header gives."""


class MalformedTar(ValueError):
    """The bytes are not a tar archive, or a damaged one; the message says what and at which byte."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """One entry of an archive, as written.

    Args:
        name: its path, checked only for UTF-8.
        kind: the type flag: `0` file, `1` hard link, `2` symbolic link, `3` character device,
            `4` block device, `5` folder, `6` fifo; others unchanged.
        link: target of a link.
        offset: where the contents begin, in bytes.
        size: the length of the contents, in bytes.
    """

    name: str
    kind: str
    link: str
    offset: int
    size: int


def read_members(data: bytes | memoryview) -> Iterator[TarMember]:
    """All members of an unpacked archive, in order.

    Raises:
        MalformedTar: a header is invalid, the archive is truncated, or data follows its end.
    """
    view = memoryview(data)
    overrides: dict[str, str] = {}
    global_records: dict[str, str] = {}
    offset = 0
    while True:
        header = bytes(view[offset : offset + BLOCK])
        if len(header) < BLOCK:
            raise MalformedTar(f"it is truncated at byte {offset + len(header)}")
        if not any(header):
            # Some readers would show this data and others not: a reviewer might see another tree.
            if bytes(view[offset:]).strip(b"\0"):
                raise MalformedTar(f"data follows its end at byte {offset}")
            return
        member = _parse_header(header, offset, {**global_records, **overrides})
        end = offset + BLOCK + (0 if member.kind in EMPTY else member.size)
        if end > len(view):
            raise MalformedTar(f"it is truncated inside the member at byte {offset}")
        if member.kind in EXTENSIONS:
            given = _parse_extension(member, bytes(view[member.offset : end]))
            (global_records if member.kind == "g" else overrides).update(given)
        else:
            yield member
            overrides = {}
        offset = -(-end // BLOCK) * BLOCK


def _parse_header(header: bytes, offset: int, given: Mapping[str, str]) -> TarMember:
    expected = _parse_number(header[148:156], offset)
    rest = header[:148] + b" " * 8 + header[156:]
    signed = sum(rest) - 256 * sum(byte >> 7 for byte in rest)  # some old tars added signed bytes
    if expected not in (sum(rest), signed):
        raise MalformedTar(f"the header at byte {offset} has a wrong checksum")
    kind = header[156:157].decode("latin-1")
    size = _parse_number(header[124:136], offset)
    if kind in EXTENSIONS:
        if size > LONGEST_EXTENSION:
            raise MalformedTar(f"the extended header at byte {offset} is too long")
        return TarMember("", kind, "", offset + BLOCK, size)
    # Only POSIX has a prefix: GNU's own format keeps times in these bytes.
    name = given["path"] if "path" in given else _decode(header[0:100], offset)
    if "path" not in given and header[257:263] == b"ustar\0" and (prefix := _decode(header[345:500], offset)):
        name = f"{prefix}/{name}"
    link = given["linkpath"] if "linkpath" in given else _decode(header[157:257], offset)
    if (text := given.get("size")) is not None:
        if not (text.isascii() and text.isdigit() and len(text) <= 20):  # noqa: PLR2004  (digits of 2**64)
            raise MalformedTar(f"the member at byte {offset} has an invalid size")
        size = int(text)
    # Old writers mark a folder only by the slash after its name; 7 is a file that is stored in one piece.
    if kind in "0\x007":
        kind = "5" if name.endswith("/") else "0"
    if SPARSE in given:
        kind = "S"
    return TarMember(name, kind, link, offset + BLOCK, size)


def _parse_number(raw: bytes, offset: int) -> int:
    if raw[0] == 0x80:  # noqa: PLR2004  (GNU's mark of a binary number)
        return int.from_bytes(raw[1:], "big")
    digits = raw.split(b"\0", 1)[0].strip(b" ")
    if not digits.isdigit() or set(digits) & set(b"89"):
        if digits:
            raise MalformedTar(f"the header at byte {offset} has an invalid number")
        return 0
    return int(digits, 8)


def _decode(raw: bytes, offset: int) -> str:
    try:
        return raw.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError:
        raise MalformedTar(f"the member at byte {offset} has a name that is not UTF-8") from None


def _parse_extension(member: TarMember, contents: bytes) -> dict[str, str]:
    """The records of an extended header that change the members after it."""
    # A global header applies to every later member, so only the few keys that count are kept: with all of
    # them, reading would take the product of both sizes.
    if member.kind in "LK":
        key = "path" if member.kind == "L" else "linkpath"
        return {key: _decode(contents, member.offset)}
    found: dict[str, str] = {}
    for key, value in _parse_records(contents, member.offset):
        if key in KEYS:
            found[key] = value
        elif key.startswith(SPARSE):
            found[SPARSE] = ""
    return found


def _parse_records(contents: bytes, offset: int) -> Iterator[tuple[str, str]]:
    r"""Pax records: `LENGTH KEY=VALUE\n`, the length in bytes and counting itself."""
    at = 0
    while at < len(contents):
        space = contents.find(b" ", at, at + 9)
        length = contents[at:space] if space > at else b""
        end = at + int(length) if length.isdigit() else 0
        record = contents[space + 1 : end]
        key, equals, value = record[:-1].partition(b"=")
        if end > len(contents) or not equals or not key or not record.endswith(b"\n"):
            raise MalformedTar(f"the extended header at byte {offset} has an invalid record")
        is_path = key in (b"path", b"linkpath")
        if is_path and b"\0" in value:
            raise MalformedTar(f"the member at byte {offset} has a NUL in its name")
        text = _decode(value, offset) if is_path else value.decode("utf-8", "backslashreplace")
        yield _decode(key, offset), text
        at = end
