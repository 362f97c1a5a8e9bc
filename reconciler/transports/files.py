"""Files of the host configuration, read and replaced with programs of coreutils on this machine or on nodes.

Argument vectors alone, without a shell: a file of sudoers can name each of them. Beside a file `NAME` lie

- `.NAME.reconciler-part`: content that is being written or checked; it proves nothing;
- `.NAME.reconciler-new`: content that was written to its end, checked and synced: the staged file;
- `.NAME.reconciler-old`: the file that the last switch replaced: the backup.

The names are fixed, so what a killed run left is found again, known by its digest, and reused or replaced.
Each change of one of these names is one system call, so that every name holds a whole content at every
moment, also if the machine fails. The content travels by standard input: an argument would show it to every
user of that machine.
"""

from __future__ import annotations

import asyncio
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from reconciler.core.file_state import NO_FILE, FilePlace, FileState, compute_file_digest
from reconciler.errors import NodeError, NodeRefused, NodeUnauthorized, NodeUnreachable
from reconciler.host.config import HostFile
from reconciler.host.config_fields import NEVER
from reconciler.host.host import Host
from reconciler.host.subprocesses import OutputTooLarge, ProgramError, ProgramResult
from reconciler.ports.transport import Files, refuse_file
from reconciler.secrets.redaction import SHAPES
from reconciler.text.one_line import UNSEEN
from reconciler.transports.machines.machine import Machine, Machines, explain_sudo, make_node_error

PART: Final = "part"
STAGED: Final = "new"
BACKUP: Final = "old"

_KEPT: Final = 300
"""Characters kept of what a program says."""

_TRIES: Final = 3
"""Readings of a file that changes while it is read."""

_LISTED: Final = 4 * 1024 * 1024
"""Bytes of the list of a folder at most."""

_SAFE_NODE: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.@_\-]{0,252}")
_DENIED: Final = ("permission denied", "operation not permitted")
_MISSING: Final = "no such file or directory"
_MODE_BITS: Final = 0o7777


def name_beside(path: PurePosixPath, role: str) -> PurePosixPath:
    """The path of what lies beside a file: `PART`, `STAGED` or `BACKUP`."""
    return path.with_name(f".{path.name}.reconciler-{role}")


@dataclass(frozen=True, slots=True)
class _Inode:
    """What `stat` shows of a path, links not followed."""

    mode: int
    size: int
    links: int
    number: int
    user: int
    group: int

    @property
    def rights(self) -> tuple[int, int, int]:
        """Permissions and owner."""
        return self.mode & _MODE_BITS, self.user, self.group


_CREATE: Final = (
    "cp",
    "--attributes-only",
    "--preserve=all",
    "--no-dereference",
    "--remove-destination",
    "-T",
    "--",
)
_WRITE: Final = ("oflag=nofollow", "conv=fsync", "bs=64K", "status=none")
_DIGEST: Final = ("sha256sum", "-b", "--")
_RENAME: Final = ("mv", "-f", "-T", "--")
_REMOVE: Final = ("rm", "-f", "--")

_STAT: Final = ("stat", "-c", "%f:%s:%h:%i:%u:%g:%n", "--")


class FileTransport(Files):
    """Reads and replaces the files of one host.

    Args:
        host: defines the files.
        machines: finds where they are.
    """

    def __init__(self, host: Host, machines: Machines) -> None:
        self._host = host
        self._machines = machines

    async def read(self, place: FilePlace) -> FileState:
        return await (await self._open(place)).read()

    async def stage(self, place: FilePlace, content: bytes) -> str:
        access = await self._open(place)
        checked = " and checked" if access.entry.check else ""
        await access.stage(content)
        return f"{access.path} is written aside{checked}"

    async def switch(self, place: FilePlace, *, before: str, after: str) -> str:
        access = await self._open(place)
        words = await access.switch(before, after)
        return f"{access.path} is in place{words}"

    async def restore(self, place: FilePlace, *, before: str, after: str) -> str:
        access = await self._open(place)
        await access.restore(before, after)
        return (
            f"{access.path} is as before" if after else f"{access.path} is removed: it was not there before"
        )

    async def discard(self, place: FilePlace) -> str:
        access = await self._open(place)
        await access.run("remove what lies beside it", *_REMOVE, access.part, access.staged)
        return f"nothing unfinished lies beside {access.path}"

    async def _open(self, place: FilePlace) -> _FileAccess:
        """The way to a file: with its machine, and its real path if the entry follows links."""
        entry = self._host.config.files.get(place.entry)
        if entry is None:
            file = self._host.file
            where = f"`files` of the host configuration{f', {file}' if file else ''}"
            raise refuse_file(place, f"is not in {where}", remedy="add it there, or correct the name")
        text = str(entry.path)
        if "{node}" in text:
            if not _SAFE_NODE.fullmatch(place.node):
                raise refuse_file(
                    place,
                    "has `{node}` in its path, and this node's name may not be a part of a path",
                    remedy="name the node with letters, digits and `. @ _ -`",
                    again=False,
                )
            text = text.replace("{node}", place.node)
        try:
            values = {"node": place.node, "host": place.host}
            machine = self._machines.find(entry.ssh, sudo=entry.sudo, values=values)
        except ProgramError as error:
            raise make_node_error(error, place.node, f"programs for the file {place.entry}") from error
        access = _FileAccess(place, entry, machine, PurePosixPath(text))
        if entry.follow:
            await access.follow()
        return access


class _FileAccess:
    """One file on its machine."""

    def __init__(self, place: FilePlace, entry: HostFile, machine: Machine, path: PurePosixPath) -> None:
        self.place = place
        self.entry = entry
        self.path = path
        self._machine = machine

    @property
    def part(self) -> PurePosixPath:
        return name_beside(self.path, PART)

    @property
    def staged(self) -> PurePosixPath:
        return name_beside(self.path, STAGED)

    @property
    def backup(self) -> PurePosixPath:
        return name_beside(self.path, BACKUP)

    async def follow(self) -> None:
        """Take the file at the end of links in place of the path."""
        result = await self._try("realpath", "-e", "--", self.path)
        target = PurePosixPath(result.out.decode("utf-8", "surrogateescape").removesuffix("\n"))
        if result.status:
            return  # no file yet, or a link that leads nowhere: `look` tells them apart
        if any(target.is_relative_to(folder) for folder in NEVER) or not _is_plain(target):
            raise refuse_file(self.place, f"leads to {_show(target)}, which is never read or written")
        self.path = target

    async def read(self) -> FileState:
        """See `Files.read`."""
        for _ in range(_TRIES):
            found = await self.look()
            inode = found.get(self.path)
            others = [path for path in (self.staged, self.backup) if path in found]
            content, digests = await asyncio.gather(self._read_content(inode), self._digest(*others))
            if inode is None or (content is not None and len(content) == inode.size):
                return FileState(
                    content,
                    digests.get(self.staged, NO_FILE),
                    digests.get(self.backup, NO_FILE),
                    self.part in found,
                    self.entry.timeout,
                    f"{self._machine.place}: {self.path}",
                )
        raise NodeUnreachable(
            self.place.node, f"the file {self.place.entry} changes while it is read", sign="alive"
        )

    async def look(self) -> dict[PurePosixPath, _Inode]:
        """What lies at the file's path and beside it; refuses a path that is no plain file."""
        paths = (self.path, self.part, self.staged, self.backup)
        result = await self._try(*_STAT, *paths)
        found = dict(_parse_inodes(result.out, paths))
        for path in (self.staged, self.backup):
            if path in found and not stat.S_ISREG(found[path].mode):
                del found[path]  # not ours: we leave plain files
        if self.path not in found:
            await self._prove_absence(result)
            return found
        inode = found[self.path]
        if stat.S_ISLNK(inode.mode):
            remedy = "name the file itself in `path`, or set `follow: true`"
            why = (
                "leads nowhere"
                if self.entry.follow
                else "is a symbolic link, which this entry does not follow"
            )
            raise refuse_file(self.place, why, remedy=remedy)
        if not stat.S_ISREG(inode.mode):
            raise refuse_file(self.place, "is not a regular file")
        if inode.size > self.entry.limit:
            remedy = "raise `limit` of the entry, if the file may be that large"
            words = f"has {inode.size:,} bytes, and its limit is {self.entry.limit:,}"
            raise refuse_file(self.place, words, remedy=remedy)
        # A backup and a staged file may be the same file for a moment of a switch.
        own = sum(found[path].number == inode.number for path in found)
        if inode.links > own:
            # A switch would replace one of its names only, and the others would keep the former content.
            raise refuse_file(
                self.place,
                f"has {inode.links} hard links, of which a switch replaces only one",
                remedy="replace it by a copy of its own: cp --preserve=all, then mv",
            )
        return found

    async def stage(self, content: bytes) -> None:
        """See `Files.stage`."""
        if len(content) > self.entry.limit:
            words = f"would have {len(content):,} bytes, and its limit is {self.entry.limit:,}"
            raise refuse_file(self.place, words, remedy="raise `limit` of the entry", again=False)
        current = (await self.look()).get(self.path)
        await self.run("remove what lies beside it", *_REMOVE, self.part, self.staged)
        try:
            await self._write_part(content, current)
            await self._check_part()
        except (NodeRefused, NodeUnauthorized):
            # Only a bonus: an unchecked content has a name of its own, and the next stage removes it.
            with suppress(NodeError):
                await self._try(*_REMOVE, self.part)
            raise
        await self.run("keep what was checked", *_RENAME, self.part, self.staged)

    async def switch(self, before: str, after: str) -> str:
        """See `Files.switch`; gives what else happened, to follow a sentence."""
        found = await self.look()
        await self._require_digests({self.path: before, self.staged: after}, found)
        if before == NO_FILE:
            await self.run("remove the former backup", *_REMOVE, self.backup)
            # A link, which fails if a file has appeared meanwhile, where a rename would replace it.
            await self.run("put it in place", "ln", "-T", "--", self.staged, self.path)
            await self._finish(*_REMOVE, self.staged)
        else:
            # A link and no copy: it needs no room, is complete at once, and has owner, mode, ACL and context.
            await self.run("keep a backup", "ln", "-f", "-T", "--", self.path, self.backup)
            # Right before the rename: a change by hand since the first look must not be lost.
            wanted = {self.path: before, self.backup: before, self.staged: after}
            await self._require_digests(wanted, dict.fromkeys(wanted))
            await self.run("put it in place", *_RENAME, self.staged, self.path)
        await self._finish("sync", "--", self.path.parent)
        if before == NO_FILE:
            return ""
        kept = (await self._digest(self.backup)).get(self.backup)
        return "" if kept == before else "; it was changed by hand in that moment, and that is the backup now"

    async def restore(self, before: str, after: str) -> None:
        """See `Files.restore`."""
        found = await self.look()
        wanted = {self.path: before} if after == NO_FILE else {self.path: before, self.backup: after}
        await self._require_digests(wanted, found)
        if after == NO_FILE:
            await self.run("remove it", *_REMOVE, self.path)
        else:
            # A rename needs no room: it works on a full disk too.
            await self.run("put its backup in place", *_RENAME, self.backup, self.path)
        await self._finish("sync", "--", self.path.parent)

    async def run(self, what: str, *arguments: str | PurePosixPath, content: bytes = b"") -> ProgramResult:
        """Run a program that has to succeed.

        Raises:
            NodeUnauthorized: this host has no permission.
            NodeRefused: it failed.
            NodeUnreachable: it did not end.
        """
        result = await self._try(*arguments, content=content)
        if result.status:
            raise self._explain(f"cannot {what}", result)
        return result

    async def _finish(self, *arguments: str | PurePosixPath) -> None:
        """Run a program after the file was replaced: if it fails, a reading has to show what is true."""
        result = await self._try(*arguments)
        if result.status:
            words = _shorten(result.error) or f"status {result.status}"
            reason = f"the file {self.place.entry} was replaced, but {arguments[0]} failed: {words}"
            raise NodeUnreachable(self.place.node, reason, sign="alive")

    async def _write_part(self, content: bytes, current: _Inode | None) -> None:
        """Write a content aside, with the rights of the current file."""
        if current is None:
            await self.run("create it aside", *_make_install(self.entry), self.part)
        else:
            # An empty file first: it has the rights of the current one before it has the content.
            await self.run("create it aside", *_CREATE, self.path, self.part)
        # nofollow: in a folder that a product can write, a link could lead to any file.
        await self.run("write it aside", "dd", f"of={self.part}", *_WRITE, content=content)
        made = dict(_parse_inodes((await self.run("look at it", *_STAT, self.part)).out, (self.part,)))
        if current is not None and made.get(self.part, current).rights != current.rights:
            raise refuse_file(
                self.place,
                "cannot be written aside with its owner and mode",
                remedy="set `sudo: true` in the entry, or give the file to the user who writes it",
            )
        if (await self._digest(self.part)).get(self.part) != compute_file_digest(content):
            raise refuse_file(self.place, "was not written to its end")

    async def _check_part(self) -> None:
        """Run the entry's own check on what is written aside."""
        if not self.entry.check:
            return
        arguments = [argument.replace("{file}", str(self.part)) for argument in self.entry.check]
        result = await self._try(*arguments, tail=True)
        if result.status:
            if remedy := explain_sudo(result):
                raise NodeUnauthorized(
                    self.place.node, f"cannot check the file {self.place.entry}", remedy=remedy
                )
            words = _shorten(result.out) or "no output"
            raise refuse_file(
                self.place,
                f"is refused by its check, which ended with status {result.status}: {words}",
                remedy="correct the values, or `check` of the entry",
                again=False,
            )

    async def _read_content(self, inode: _Inode | None) -> bytes | None:
        """The content; None if there is no file."""
        if inode is None:
            return None
        # nofollow and nonblock: the path may have become a link or a pipe since it was looked at.
        result = await self._try(*_make_reading(self.entry, self.path), limit=self.entry.limit + 1)
        if result.status:
            raise self._explain_reading(result)
        return result.out

    async def _digest(self, *paths: PurePosixPath) -> dict[PurePosixPath, str]:
        """The digests of paths that exist."""
        if not paths:
            return {}
        result = await self._try(*_DIGEST, *paths)
        if result.status:
            raise self._explain_reading(result)
        return dict(_parse_digests(result.out, paths))

    async def _require_digests(
        self, wanted: Mapping[PurePosixPath, str], found: Mapping[PurePosixPath, _Inode | None]
    ) -> None:
        """Refuse if a path has another content than it must have."""
        shown = await self._digest(*(path for path in wanted if path in found))
        for path, digest in wanted.items():
            if shown.get(path, NO_FILE) != digest:
                role = {self.path: "it", self.backup: "its backup"}.get(path, "what is written aside")
                raise refuse_file(self.place, f"is not replaced: {role} was changed since it was read")

    async def _prove_absence(self, result: ProgramResult) -> None:
        """Require that the folder itself shows that there is no file: a failed look never means absent."""
        folder = await self._try("ls", "-A", "-1", "-N", "--", self.path.parent, limit=_LISTED)
        if folder.status:
            raise self._explain_reading(folder)
        if self.path.name in folder.out.decode("utf-8", "surrogateescape").split("\n"):
            raise self._explain_reading(result)

    async def _try(
        self, *arguments: str | PurePosixPath, content: bytes = b"", limit: int = _LISTED, tail: bool = False
    ) -> ProgramResult:
        """Run a program, whatever its status."""
        vector = tuple(map(str, arguments))
        try:
            return await self._machine.run(
                vector, content=content, seconds=self.entry.timeout, limit=limit, tail=tail
            )
        except OutputTooLarge:
            raise NodeUnreachable(
                self.place.node, f"the file {self.place.entry} or its folder is too large", sign="alive"
            ) from None
        except ProgramError as error:
            raise make_node_error(
                error, self.place.node, f"{vector[0]} for the file {self.place.entry}"
            ) from error

    def _explain(self, what: str, result: ProgramResult) -> NodeError:
        """Why a program failed, as an error of the node."""
        words = _shorten(result.error or result.out) or f"status {result.status}"
        reason = f"the file {self.place.entry}: {what}: {words}"
        if remedy := explain_sudo(result):
            return NodeUnauthorized(self.place.node, reason, remedy=remedy)
        if any(denied in words.lower() for denied in _DENIED):
            remedy = "set `sudo: true` in the entry, or give the user the permission"
            return NodeUnauthorized(self.place.node, reason, remedy=remedy)
        return refuse_file(self.place, f"is as it was: {what}: {words}")

    def _explain_reading(self, result: ProgramResult) -> NodeError:
        error = self._explain("cannot read it", result)
        if isinstance(error, NodeRefused):
            words = _shorten(result.error) or f"status {result.status}"
            if _MISSING in words.lower():
                reason = f"the folder of the file {self.place.entry}, {self.path.parent}, does not exist"
                remedy = "create it on the machine, or correct `path` of the entry"
                return NodeUnreachable(self.place.node, reason, sign="alive", sent=False, remedy=remedy)
            reason = f"the file {self.place.entry} cannot be read: {words}"
            return NodeUnreachable(self.place.node, reason, sign="alive", sent=False)
        return error


def _make_install(entry: HostFile) -> tuple[str, ...]:
    """The program that creates an empty file with the rights of the entry."""
    user, _, group = (entry.owner or "").partition(":")
    owner = (*((f"--owner={user}",) if user else ()), *((f"--group={group}",) if group else ()))
    return ("install", "-T", f"--mode={entry.mode}", *owner, "--", "/dev/null")


def _make_reading(entry: HostFile, path: PurePosixPath) -> tuple[str, ...]:
    """The program that reads a file, up to one byte more than its limit."""
    flags = "iflag=nofollow,nonblock,fullblock,count_bytes"
    return ("dd", f"if={path}", flags, f"count={entry.limit + 1}", "bs=64K", "status=none")


def list_programs(entry: HostFile, path: PurePosixPath) -> tuple[tuple[str, ...], ...]:
    """Every program that the transport may run for a file, each as its complete argument vector."""
    part, staged, backup = (name_beside(path, role) for role in (PART, STAGED, BACKUP))
    folder = path.parent
    vectors = (
        *([("realpath", "-e", "--", path)] if entry.follow else []),
        (*_STAT, path, part, staged, backup),
        (*_STAT, part),
        ("ls", "-A", "-1", "-N", "--", folder),
        _make_reading(entry, path),
        *(
            (*_DIGEST, *paths)
            for paths in (
                *((one,) for one in (path, part, staged, backup)),
                *((staged, backup), (path, staged), (path, backup), (path, backup, staged)),
            )
        ),
        *((*_REMOVE, *paths) for paths in ((part, staged), (part,), (staged,), (backup,), (path,))),
        (*_make_install(entry), part),
        (*_CREATE, path, part),
        ("dd", f"of={part}", *_WRITE),
        *([tuple(one.replace("{file}", str(part)) for one in entry.check)] if entry.check else []),
        *((*_RENAME, *pair) for pair in ((part, staged), (staged, path), (backup, path))),
        ("ln", "-f", "-T", "--", path, backup),
        ("ln", "-T", "--", staged, path),
        ("sync", "--", folder),
    )
    return tuple(tuple(map(str, vector)) for vector in vectors)


def _is_plain(path: PurePosixPath) -> bool:
    return path.is_absolute() and not any(ord(mark) < ord(" ") for mark in str(path))


def _show(path: PurePosixPath) -> str:
    return UNSEEN.sub(" ", str(path))[:_KEPT]


def _parse_inodes(out: bytes, paths: Sequence[PurePosixPath]) -> Iterator[tuple[PurePosixPath, _Inode]]:
    """Path -> what `stat` printed of it; those that do not exist are left out."""
    known = {str(path): path for path in paths}
    for line in out.decode("utf-8", "surrogateescape").split("\n"):
        mode, *numbers = line.split(":", 6)
        if (
            len(numbers) == len(_Inode.__dataclass_fields__)
            and (path := known.get(numbers.pop())) is not None
        ):
            yield path, _Inode(int(mode, 16), *map(int, numbers))


def _parse_digests(out: bytes, paths: Sequence[PurePosixPath]) -> Iterator[tuple[PurePosixPath, str]]:
    """Path -> the digest that `sha256sum` printed; those that it could not read are left out."""
    known = {str(path): path for path in paths}
    for line in out.decode("utf-8", "surrogateescape").split("\n"):
        # A backslash at the begin of the line: sha256sum has escaped one in the name.
        digest, _, name = line.removeprefix("\\").partition(" *")
        if line.startswith("\\"):
            name = name.replace("\\\\", "\\")
        if (path := known.get(name)) is not None:
            yield path, digest


def _shorten(out: bytes) -> str:
    # Mask before shortening: a cut secret is not recognised any more.
    text = SHAPES.redact_text(out.decode("utf-8", "replace"))
    words = " ".join(UNSEEN.sub(" ", text).split())
    return words if len(words) <= _KEPT else f"…{words[-_KEPT:]}"
