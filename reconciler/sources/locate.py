"""Which kind of source a text on the command line means, and whether the options apply to it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from reconciler.core.fleet_matching import normalise_source
from reconciler.errors import SourceError, UsageError
from reconciler.host.aws_accounts import AwsAccount
from reconciler.ports.source import Source
from reconciler.sources.folder import FolderSource
from reconciler.sources.git.discovery import NAME, WorkTree, find_work_tree, is_bare
from reconciler.sources.layout import clean_path
from reconciler.sources.linked_source import LinkedSource, make_absolute
from reconciler.sources.output_check import WrittenFile, refuse_state_inside, refuse_written_inside
from reconciler.sources.s3.location import S3Location, parse_s3_location
from reconciler.sources.signatures.trust import Trust
from reconciler.sources.source_address import SCP_FORM, SourceAddress, parse_source_address
from reconciler.text.one_line import make_one_line
from reconciler.text.urls import strip_secrets

if TYPE_CHECKING:
    from reconciler.sources.tarball import TarballOptions

ARCHIVE = re.compile(r"\.(tar|tgz|tar\.(gz|zst|xz|bz2)|txz|tbz2?|tzst|zip)$", re.IGNORECASE)
SCHEMES = ("https", "http", "ssh", "git+ssh", "ssh+git", "git+https", "git+http", "file", "git+file")
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Options:
    """The options of the source."""

    ref: str
    path: str
    sha256: str
    cache: Path
    trust: Trust | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    saved: bool | None = None
    is_rollback: bool = False
    state: Path | None = None
    writes: Sequence[WrittenFile] = ()
    accounts: Mapping[str, AwsAccount] = field(default_factory=dict)

    def git(self, address: SourceAddress, *, below: str = "", work: WorkTree | None = None) -> Source:
        self.refuse_unfit(kind="git repository", sha256=self.sha256)
        if self.state is not None and address.url.startswith("file://"):
            refuse_state_inside(Path(unquote(address.url.removeprefix("file://"))), self.state)
        path = "/".join(part for part in (below, self.path) if part)
        self.refuse_saved()
        # Each kind of source is loaded where it is the one: most are folders.
        from reconciler.sources.git.source import GitSource  # noqa: PLC0415

        return GitSource(
            address,
            ref=self.ref,
            path=path,
            cache=self.cache,
            trust=self.trust,
            environment=self.environment,
            work=work,
        )

    def tarball(self, file: Path | SourceAddress) -> Source:
        from reconciler.sources.tarball import TarballFileSource, TarballUrlSource  # noqa: PLC0415

        packing = self._packing("tarball")
        if isinstance(file, Path):
            return TarballFileSource(file, packing)
        return TarballUrlSource(file, packing, cache=self.cache, environment=self.environment)

    def s3(self, location: S3Location) -> Source:
        if ARCHIVE.search(location.key):
            from reconciler.sources.s3.package import S3PackageSource  # noqa: PLC0415

            packing = self._packing("package in S3")
            return S3PackageSource(location, packing, cache=self.cache, environment=self.environment)
        self.refuse_unfit(kind="path of backups", sha256=self.sha256)
        packing = self._packing("path of backups")
        from reconciler.sources.s3.backups import S3BackupSource  # noqa: PLC0415

        return S3BackupSource(location, packing, cache=self.cache, environment=self.environment)

    def _packing(self, kind: str) -> TarballOptions:
        # Only a rollback names a tarball by its revision; elsewhere `--ref` can only mean git.
        named = self.ref.lower() if self.is_rollback else ""
        self.refuse_unfit(kind=kind, ref="" if named else self.ref)
        self.refuse_saved()
        from reconciler.sources.tarball import TarballOptions  # noqa: PLC0415

        return TarballOptions(self.path, self.sha256, trust=self.trust, named=named)

    def folder(self, folder: Path) -> Source:
        self.refuse_unfit(kind="folder", sha256=self.sha256)
        for one in self.writes:
            if not (one.is_final and find_work_tree(folder)):
                refuse_written_inside(folder / self.path, one)
        return FolderSource(folder / self.path, trust=self.trust)

    def refuse_saved(self) -> None:
        if self.saved:
            raise UsageError(
                "--uncommitted requires a folder as the source",
                remedy="remove it, or give a folder without --ref",
            )

    @staticmethod
    def refuse_unfit(*, kind: str, **options: str) -> None:
        for option, value in options.items():
            if value:
                meant = {"ref": "a git repository", "sha256": "a tarball"}[option]
                raise UsageError(
                    f"--{option} requires {meant}, but the source is a {kind}",
                    remedy=f"remove --{option}, or give {meant}",
                )


def locate_source(
    text: str,
    *,
    ref: str = "",
    path: str = "",
    sha256: str = "",
    cache: Path,
    trust: Trust | None = None,
    environment: Mapping[str, str] = os.environ,
    saved: bool | None = None,
    state: Path | None = None,
    is_rollback: bool = False,
    writes: Sequence[WrittenFile] = (),
    accounts: Mapping[str, AwsAccount] = MappingProxyType({}),
) -> Source:
    """The source that a text means; nothing is read or requested yet, except for a look at local paths.

    Args:
        text: a folder, a repository (URL, `user@host:path`, a folder whose name ends in `.git`, or a work
            tree together with `ref`), a tarball (path or http(s) URL), or `s3://` with a package or a path of
            backups; empty for the current folder. An http(s) URL that ends neither in `.git` nor as a tarball
            does, and has no query (as archive APIs do), is asked at the first snapshot.
        ref: branch, tag or commit id of a repository.
        path: folder within the source.
        sha256: digest that a tarball must have, in hexadecimal, with or without `sha256:`.
        cache: where copies are kept; made when needed.
        trust: whose signature every revision must have; None for no check.
        environment: of the process, which gives the tokens of sources.
        saved: whether a folder in a work tree means its files as saved or, if False, the commit that is
            checked out; None for the files as saved unless `ref` is given.
        state: the state folder, which must be outside the folder that is read; None for no state.
        is_rollback: whether `ref` is the revision to go back to, which a tarball must have.
        writes: files that this process writes, which must be outside a folder whose files are read.
        accounts: of AWS in the host configuration, which may read buckets.

    Raises:
        UsageError: the text is not a source, an option does not apply to it, or the state is inside it.
        SourceError: there is no such folder or file.
    """
    folder, digest = _parse_folder(path), _parse_digest(sha256)
    options = _Options(
        ref.strip(), folder, digest, cache, trust, environment, saved, is_rollback, state, writes, accounts
    )
    if "://" in text:
        return _remote(text, options)
    try:
        place = Path(text or ".").expanduser()
        found = place.exists()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no such user
        why = getattr(error, "strerror", None) or "there is no such home folder"
        raise UsageError(f"the source '{make_one_line(text, 200)}' cannot be accessed: {why}") from error
    # A local path wins: a folder may be called `host:path`.
    if not found and SCP_FORM.fullmatch(text):
        return options.git(parse_source_address(text))
    return _local(place, options)


def make_source_absolute(text: str) -> str:
    """A source as any process of this host finds it: a local path is absolute."""
    if "://" in text:
        return text
    try:
        place = Path(text or ".").expanduser()
        found = place.exists()
    except (OSError, RuntimeError):  # as in `locate_source`, which says why
        return text
    return text if not found and SCP_FORM.fullmatch(text) else str(place.absolute())


def is_same_source(one: str, other: str) -> bool:
    """Whether two texts mean one source on this host, also by another path, through a link, or as a URL."""
    return _normalise(one) == _normalise(other)


def _normalise(text: str) -> str:
    found = normalise_source(strip_secrets(make_source_absolute(text)))
    return os.path.realpath(found) if found.startswith("/") else found.rstrip("/")


def _remote(text: str, options: _Options) -> Source:
    scheme = text.partition("://")[0].lower()
    if scheme == "s3":
        return options.s3(parse_s3_location(text, options.accounts))
    if scheme not in SCHEMES:
        hint = "; git:// is neither encrypted nor authenticated" if scheme == "git" else ""
        raise UsageError(
            f"the address '{strip_secrets(text)}' is not supported",
            remedy=f"use https, http, ssh, file or s3, or a path{hint}",
        )
    address = parse_source_address(text)
    if scheme not in ("http", "https"):
        return _make_git_source(address, text, options)
    route = urlsplit(text).path
    # By the text alone as far as it goes: asking a server shows it the token.
    if options.sha256 or ARCHIVE.search(route):
        return options.tarball(address)
    if options.ref or route.rstrip("/").endswith(".git"):
        return _make_git_source(address, text, options)
    if address.query:
        return options.tarball(address)
    from reconciler.sources.detected_source import DetectedSource  # noqa: PLC0415

    return DetectedSource(
        address,
        tarball=partial(options.tarball, address),
        git=partial(options.git, address),
        environment=options.environment,
    )


def _make_git_source(address: SourceAddress, text: str, options: _Options) -> Source:
    if address.query or "#" in text:
        raise UsageError(
            f"the address {address.shown} of a git repository has a query or a fragment",
            remedy="give the branch, tag or commit with --ref, and a folder with --path",
        )
    return options.git(address)


def _local(place: Path, options: _Options) -> Source:
    if place.is_dir():
        named, real = make_absolute(place), place.resolve()
        source = _folder(real, options)
        if named == real:
            return source
        name = str(named / options.path) if options.path else str(named)
        return LinkedSource(named, source, lambda folder: _folder(folder, options), name=name)
    if place.is_file():
        if not ARCHIVE.search(place.name):
            raise UsageError(
                f"the source {place} is a file, but not a tarball",
                remedy="give the folder that contains it, or a .tar, .tar.gz or .tgz",
            )
        return options.tarball(place.absolute())
    if place.exists():
        raise SourceError(
            f"{place} is neither a folder nor a regular file", remedy="give the path of a folder or a tarball"
        )
    kind = "tarball" if ARCHIVE.search(place.name) else "folder"
    hint = f"; for a repository write https://{place}" if re.match(r"[\w-]+(\.[\w-]+)+/", str(place)) else ""
    only = (
        f"; for a cluster or a node write `--only {place}`" if re.fullmatch(r"[\w.@-]+", str(place)) else ""
    )
    raise SourceError(f"there is no {kind} {place}", remedy=f"check the path{hint}{only}")


def _folder(real: Path, options: _Options) -> Source:
    """What a folder means: a repository, the commit of a work tree, or its files."""
    if options.state is not None:
        refuse_state_inside(real / options.path, options.state)
    if real.name.endswith(NAME):
        return options.git(_make_file_address(_check_repository_name(real)))
    if is_bare(real):
        raise UsageError(
            f"the folder {real} is a bare repository, without files of desired state",
            remedy=f"to read the repository, give it as file://{real}",
        )
    if options.ref:
        return _in_work_tree(real, find_work_tree(real), options)
    work = find_work_tree(real) if options.saved is False else None
    return _in_work_tree(real, work, options) if work else options.folder(real)


def _in_work_tree(folder: Path, work: WorkTree | None, options: _Options) -> Source:
    """The commit that `--ref` names, or else the one that is checked out."""
    if work is None:
        raise UsageError(
            f"--ref requires a git repository, but the folder {folder} is not inside one",
            remedy="remove --ref, or give a repository",
        )
    return options.git(
        _make_file_address(work.top), below=work.locate(folder), work=None if options.ref else work
    )


def _check_repository_name(folder: Path) -> Path:
    """A folder with the name of a repository, unless it may be content of a work tree.

    Raises:
        UsageError: it is in a work tree, whose author may have put a repository there for us to read.
    """
    work = find_work_tree(folder.parent) if folder.name != NAME else None
    if work is not None:
        raise UsageError(
            f"{folder} has the name of a repository and is inside the work tree {work.top}: it may be a "
            "folder of that repository",
            remedy=f"to read it as a repository, give it as file://{folder}",
        )
    return folder


def _make_file_address(folder: Path) -> SourceAddress:
    return SourceAddress(str(folder), str(folder), "file")


def _parse_folder(path: str) -> str:
    found = clean_path(path.strip())
    if found is None:
        raise UsageError(
            f"--path '{path}' points outside the source", remedy="give a folder inside it, without '..'"
        )
    return found


def _parse_digest(text: str) -> str:
    digest = text.strip().lower().removeprefix("sha256:")
    if digest and not DIGEST.fullmatch(digest):
        raise UsageError(
            "--sha256 is not a SHA-256 digest",
            remedy="give its 64 hexadecimal digits, as sha256sum prints them",
        )
    return digest
