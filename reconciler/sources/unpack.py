"""From the bytes of an archive to files, refusing everything that could reach outside them: pure.

Nothing is written to disk. Decisions:

- Symbolic and hard links to files inside are followed. A link that points outside or forms a loop is refused
  even if nobody reads it, and so is a hard link to a file that does not come before it.
- Devices, fifos, sparse files, unknown types and a path that appears twice are refused.
- If one folder contains everything, as in the archives of forges, it is stripped.
- Files that macOS adds (`._name`, `.DS_Store`) are skipped.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from reconciler.archive import tar
from reconciler.archive.inflate import ArchiveError, ArchiveLimits, inflate, is_archive
from reconciler.archive.tar import BLOCK, SPECIAL
from reconciler.errors import SourceError
from reconciler.sources.content_limits import LIMITS, SourceLimits, check_file_size
from reconciler.sources.layout import Layout, LayoutFiles
from reconciler.text.one_line import quote_path


@dataclass(frozen=True)
class UnpackedFiles(LayoutFiles):
    """The files of one archive."""

    data: bytes

    def digest(self) -> str:
        """SHA-256 over the paths and contents of all files, as they can be read, in hexadecimal.

        Raises:
            SourceError: links lead to too many files.
        """
        whole, known = hashlib.sha256(), dict[str, bytes]()
        for name in self.names():
            try:
                full = self.layout.find(name)
                if full not in known:
                    known[full] = hashlib.sha256(self._load(full, name)).digest()
                found = b"file\0%s\0%s" % (name.encode(), known[full])
            except (SourceError, FileNotFoundError):  # a broken link
                found = b"link\0%s\0" % name.encode()
            whole.update(found)
        return whole.hexdigest()

    def _load(self, full: str, path: str) -> bytes:  # noqa: ARG002  (a message needs it elsewhere)
        member: tar.TarMember = self.layout.files[full]
        return self.data[member.offset : member.offset + member.size]


def unpack_archive(
    data: bytes, *, where: str, path: str = "", limits: SourceLimits = LIMITS
) -> UnpackedFiles:
    """The files in a tar archive, compressed or not.

    Args:
        data: the archive as stored or downloaded.
        where: its name, for messages.
        path: the folder to read; looked up below the stripped top folder first.
        limits: bounds on what comes out.

    Raises:
        SourceError: the archive is damaged, or a member is refused; the message has its name and number.
    """
    try:
        plain = inflate(data, ArchiveLimits(limits.total_bytes, limits.ratio, limits.ratio_floor))
    except ArchiveError as error:
        raise SourceError(f"{where} {error.message}", remedy=error.remedy) from error
    sorter = _Sorter(where, limits)
    try:
        for number, member in enumerate(tar.read_members(plain), start=1):
            sorter.add(number, member)
    except tar.MalformedTar as error:
        what = f"not a complete tar archive: {error}" if is_archive(plain[:BLOCK]) else "not a tar archive"
        raise SourceError(
            f"{where} is {what}", remedy="check the file, then download or create it again"
        ) from error
    return UnpackedFiles(_select_folder(sorter.layout(), path, where), plain)


def _select_folder(layout: Layout, path: str, where: str) -> Layout:
    tops = {name.partition("/")[0] for name in (*layout.files, *layout.links)}
    top = tops.pop() if len(tops) == 1 else ""
    stripped = (layout.below(top) if top else None) or layout
    if not path:
        return stripped
    found = layout.below(f"{top}/{path}") or layout.below(path)
    if found is None:
        raise SourceError(f"{where}: it contains no folder {quote_path(path)}", remedy="check --path")
    return found


@dataclass
class _Sorter:
    """Sorts the members one by one and refuses those that are not allowed."""

    where: str
    limits: SourceLimits
    files: dict[str, tar.TarMember] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def add(self, number: int, member: tar.TarMember) -> None:
        if number > self.limits.files:
            raise SourceError(
                f"{self.where} has more than {self.limits.files:,} members",
                remedy="pack only the desired state",
            )
        path = self._check_name(number, member)
        base = path.rpartition("/")[2]
        if member.kind == "5" or base.startswith("._") or base == ".DS_Store":
            if member.kind == "5" and path:
                self._claim_folders(number, f"{path}/")
            return
        self._claim(number, path)
        if member.kind == "0":
            check_file_size(self.limits, where=self.where, path=path, count=member.size)
            self.files[path] = member
        elif member.kind == "1":
            target = "/".join(part for part in member.link.split("/") if part not in ("", "."))
            # With contents of its own, two programs could read two different files here.
            if member.size or target not in self.files:
                reason = f"is a hard link to {quote_path(member.link)}, but no member before it is this file"
                raise self._make_error(number, path, reason)
            self.files[path] = self.files[target]
        elif member.kind == "2":
            self._add_link(number, path, member)
        else:
            what = SPECIAL.get(member.kind, f"of the unknown type {member.kind!r}")
            raise self._make_error(number, path, f"is {what}")

    def _check_name(self, number: int, member: tar.TarMember) -> str:
        name = member.name
        parts = [part for part in name.split("/") if part not in ("", ".")]
        # Marks of writing direction would make a message show another path.
        if not all(char.isprintable() for char in name):
            raise self._make_error(number, name, "has a control or invisible character in its name")
        if name.startswith("/"):
            raise self._make_error(number, name, "has an absolute path")
        if ".." in parts:
            raise self._make_error(number, name, "points outside the archive with '..'")
        if len(name) > self.limits.path_chars or len(parts) > self.limits.depth:
            raise self._make_error(number, name, "has a path that is too long")
        if not parts and member.kind != "5":
            raise self._make_error(number, name, "has no name")
        return "/".join(parts)

    def _claim(self, number: int, path: str) -> None:
        if path in self.numbers:
            raise self._make_error(number, path, f"has the same path as member {self.numbers[path]}")
        if path in self.folders:
            raise self._make_error(number, path, "is also a folder")
        self._claim_folders(number, path)
        self.numbers[path] = number

    def _claim_folders(self, number: int, path: str) -> None:
        # A file that is a folder for later members would let two readers see different files.
        while (path := path.rpartition("/")[0]) and path not in self.folders:
            if path in self.numbers:
                raise self._make_error(
                    number, path, f"is a folder, but member {self.numbers[path]} has the same path"
                )
            self.folders.add(path)

    def _add_link(self, number: int, path: str, member: tar.TarMember) -> None:
        target = member.link
        limits = self.limits
        too_long = len(target) > limits.path_chars or target.count("/") > limits.depth
        if too_long or len(self.links) >= limits.links:
            raise self._make_error(number, path, "exceeds the limit for links or for the length of a target")
        if not target or not all(char.isprintable() for char in target):
            raise self._make_error(number, path, "is a link with an invalid target")
        self.links[path] = target

    def layout(self) -> Layout:
        """The paths, after a check that every link stays inside."""
        if not self.files:
            raise SourceError(f"{self.where} contains no files", remedy="check how it was packed")
        layout = Layout(self.where, self.files, self.links, most=self.limits.files)
        for path in sorted(self.links):
            try:
                layout.below(path)
            except SourceError as error:
                number = self.numbers[path]
                reason = f"is a link to {quote_path(self.links[path])}, which points outside the archive"
                raise self._make_error(number, path, f"{reason} or forms a loop") from error
        return layout

    def _make_error(self, number: int, path: str, reason: str) -> SourceError:
        return SourceError(
            f"{self.where}: member {number}, {quote_path(path)}, {reason}",
            remedy="the whole archive is rejected; ask its author; pack only regular files and folders",
        )
