"""A strict reader of tar archives (ustar, pax, GNU long names): bytes in, members out, pure.

The standard library's reader is made for extracting what a user trusts: in Pythons that this program
supports it can be made to loop for ever (CVE-2025-8194) or to backtrack (CVE-2024-6232), and it skips
what it does not understand. Here every header must be right, and each byte belongs to one member.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

BLOCK = 512
LONGEST_EXTENSION = 1024 * 1024
EXTENSIONS = "xgLK"
KEYS = frozenset({"path", "linkpath", "size"})
"""Pax records that change what a member is."""

SPECIAL = {
    "3": "a character device",
    "4": "a block device",
    "6": "a fifo",
    "S": "a sparse file",
    "M": "a part of a file in another volume",
}
"""Kinds of members that nobody here reads, by what they are."""

SPARSE = "GNU.sparse"
"""How the keys of pax records begin that make a member a sparse file."""

EMPTY = "123456"
"""Kinds that have no contents, whatever size their header gives."""


class MalformedTar(ValueError):
    """The bytes are no tar archive, or a damaged one; the message says what and at which byte."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """One entry of an archive, as it is written.

    Args:
        name: its path, not checked in any way but for being UTF-8.
        kind: the type flag: `0` file, `1` hard link, `2` symbolic link, `3` character device,
            `4` block device, `5` folder, `6` fifo; others are as they stand.
        link: what a link leads to.
        offset: where the contents begin, in bytes.
        size: the length of the contents, in bytes.
    """

    name: str
    kind: str
    link: str
    offset: int
    size: int


def read_members(data: bytes | memoryview) -> Iterator[TarMember]:
    """All members of an unpacked archive, in its order.

    Raises:
        Malformed: a header is wrong, the archive is cut off, or something follows its end.
    """
    view = memoryview(data)
    overrides: dict[str, str] = {}
    standing: dict[str, str] = {}
    offset = 0
    while True:
        header = bytes(view[offset : offset + BLOCK])
        if len(header) < BLOCK:
            raise MalformedTar(f"it is truncated at byte {offset + len(header)}")
        if not any(header):
            _nothing_but_zeros(view, offset)
            return
        member = _member(header, offset, {**standing, **overrides})
        end = offset + BLOCK + (0 if member.kind in EMPTY else member.size)
        if end > len(view):
            raise MalformedTar(f"it is truncated inside the member at byte {offset}")
        if member.kind in EXTENSIONS:
            given = _extension(member, bytes(view[member.offset : end]))
            (standing if member.kind == "g" else overrides).update(given)
        else:
            yield member
            overrides = {}
        offset = -(-end // BLOCK) * BLOCK


def _nothing_but_zeros(view: memoryview, offset: int) -> None:
    if bytes(view[offset:]).strip(b"\0"):
        raise MalformedTar(f"data follows its end at byte {offset}")


def _member(header: bytes, offset: int, given: Mapping[str, str]) -> TarMember:
    _check_sum(header, offset)
    kind = header[156:157].decode("latin-1")
    size = _number(header[124:136], offset)
    if kind in EXTENSIONS:
        if size > LONGEST_EXTENSION:
            raise MalformedTar(f"the extended header at byte {offset} is too long")
        return TarMember("", kind, "", offset + BLOCK, size)
    name = given["path"] if "path" in given else _name(header, offset)
    link = given["linkpath"] if "linkpath" in given else _text(header[157:257], offset)
    size = _decimal(given["size"], offset) if "size" in given else size
    if kind in "0\x007":
        kind = "5" if name.endswith("/") else "0"
    if SPARSE in given:
        kind = "S"
    return TarMember(name, kind, link, offset + BLOCK, size)


def _name(header: bytes, offset: int) -> str:
    name = _text(header[0:100], offset)
    prefix = _text(header[345:500], offset) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _check_sum(header: bytes, offset: int) -> None:
    expected = _number(header[148:156], offset)
    rest = header[:148] + b" " * 8 + header[156:]
    signed = sum(rest) - 256 * sum(byte >> 7 for byte in rest)  # how some old tars added bytes up
    if expected not in (sum(rest), signed):
        raise MalformedTar(f"the header at byte {offset} has a wrong checksum")


def _number(raw: bytes, offset: int) -> int:
    if raw[0] == 0x80:  # noqa: PLR2004  (GNU's mark of a binary number)
        return int.from_bytes(raw[1:], "big")
    digits = raw.split(b"\0", 1)[0].strip(b" ")
    if not digits.isdigit() or set(digits) & set(b"89"):
        if digits:
            raise MalformedTar(f"the header at byte {offset} has an invalid number")
        return 0
    return int(digits, 8)


def _decimal(text: str, offset: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):  # noqa: PLR2004  (digits of 2**64)
        raise MalformedTar(f"the member at byte {offset} has an invalid size")
    return int(text)


def _text(raw: bytes, offset: int) -> str:
    try:
        return raw.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError:
        raise MalformedTar(f"the member at byte {offset} has a name that is not UTF-8") from None


def _extension(member: TarMember, contents: bytes) -> dict[str, str]:
    """What an extended header says of the members behind it; keys that change nothing are left out.

    A global header counts for each member that follows: what it leaves behind must stay small, or
    reading would take the product of both sizes.
    """
    if member.kind in "LK":
        key = "path" if member.kind == "L" else "linkpath"
        return {key: _text(contents, member.offset)}
    found: dict[str, str] = {}
    for key, value in _records(contents, member.offset):
        if key in KEYS:
            found[key] = value
        elif key.startswith(SPARSE):
            found[SPARSE] = ""
    return found


def _records(contents: bytes, offset: int) -> Iterator[tuple[str, str]]:
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
        yield _text(key, offset), _value(key, value, offset)
        at = end


def _value(key: bytes, value: bytes, offset: int) -> str:
    if key not in (b"path", b"linkpath"):
        return value.decode("utf-8", "backslashreplace")
    if b"\0" in value:
        raise MalformedTar(f"the member at byte {offset} has a NUL in its name")
    return _text(value, offset)
