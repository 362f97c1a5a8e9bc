"""Locations in S3 (`s3://BUCKET/KEY`), the account that may read them, and keys of backups; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from reconciler.errors import UsageError
from reconciler.host.aws_accounts import AwsAccount
from reconciler.text.one_line import take_first_line
from reconciler.text.urls import strip_secrets

FEED: Final = "feed.json"
"""Name of the message that M2 writes beside its backups (M2 manual, Events)."""

FOLDER: Final = "settings/"
"""Folder of the backups, below the path of the setting."""

BACKUP_NAME: Final = re.compile(r"setting_(?P<time>[0-9]{8}T[0-9]{9}Z)\.tgz")
"""Name of a backup: the time at which it was made, to the millisecond."""

_BACKUP_KEY: Final = re.compile(r"settings/[0-9]{4}/[0-9]{2}/setting_[0-9]{8}T[0-9]{9}Z\.tgz")
_LONGEST: Final = 1024
"""Bytes of a key at most, a limit of S3."""


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket of an account, and a key or the beginning of keys in it.

    Args:
        account: name of the account in the host configuration.
        rules: its entry.
        bucket: one of its buckets.
        key: without a slash at its begin; may be empty.
    """

    account: str
    rules: AwsAccount
    bucket: str
    key: str

    @property
    def shown(self) -> str:
        """For messages, and as the name of the source."""
        return f"s3://{self.bucket}/{self.key}".rstrip("/")

    def at(self, key: str) -> S3Location:
        """Another key of the same bucket."""
        return replace(self, key=key)

    def below(self, name: str) -> S3Location:
        """A key below this one."""
        return self.at(f"{self.key.rstrip('/')}/{name}".lstrip("/"))

    @property
    def base_url(self) -> str:
        """Where the bucket is reached, with a slash at the end."""
        s3 = self.rules.s3
        if s3 is not None and s3.endpoint is not None:
            scheme, _, host = s3.endpoint.partition("://")
            is_path = s3.path_style
        else:
            # The partition of China has a domain of its own.
            suffix = ".cn" if self.rules.region.startswith("cn-") else ""
            scheme, host = "https", f"s3.{self.rules.region}.amazonaws.com{suffix}"
            # No certificate for `*.s3…` covers a bucket with a dot.
            is_path = "." in self.bucket or (s3 is not None and s3.path_style)
        return f"{scheme}://{host}/{self.bucket}/" if is_path else f"{scheme}://{self.bucket}.{host}/"

    @property
    def url(self) -> str:
        """Of the object with this key."""
        return self.base_url + quote(self.key, safe="/-_.~")


def parse_s3_location(text: str, accounts: Mapping[str, AwsAccount]) -> S3Location:
    """The location that a text names.

    Args:
        text: `s3://BUCKET/KEY`; the key is as it is, without percent-encoding.
        accounts: of the host configuration.

    Raises:
        UsageError: it is none, or no account has the bucket.
    """
    shown = strip_secrets(take_first_line(text))
    if not text.isprintable():
        raise UsageError(f"the address '{shown}' contains control characters")
    bucket, _, key = text.partition("://")[2].partition("/")
    if not bucket or any(mark in bucket for mark in "@:?#") or any(mark in key for mark in "?#"):
        raise UsageError(
            f"the address '{shown}' is not that of an object in S3",
            remedy="write s3://BUCKET/PATH; region, endpoint and keys are in `aws` of the host configuration",
        )
    parts = key.rstrip("/").split("/") if key else []
    if len(key.encode()) > _LONGEST or any(part in {"", ".", ".."} for part in parts):
        raise UsageError(
            f"the address '{shown}' has a path that no backup has",
            remedy="write the path without empty parts, `.` and `..`",
        )
    for name, rules in accounts.items():
        if rules.s3 is not None and bucket in rules.s3.buckets:
            return S3Location(name, rules, bucket, key)
    allowed = sorted(one for rules in accounts.values() if rules.s3 for one in rules.s3.buckets)
    raise UsageError(
        f"this host may not read the bucket {bucket}: no account in `aws` of the host configuration has it",
        remedy=f"buckets that it may read: {', '.join(allowed[:12])}"
        if allowed
        else f"add an account with `s3: {{buckets: [{bucket}]}}` to the host configuration",
    )


def find_backup_key(url: str, prefix: str, bucket: str) -> str | None:
    """The key of the backup that a feed names, below the prefix; None if the URL names none.

    Host and query of the URL are not looked at: what is read is always this bucket.

    Args:
        url: absolute, or a path; its form is not documented (M2 manual, Events).
        prefix: of the backups, without slashes at its ends.
        bucket: which a URL may have at the begin of its path.

    Raises:
        ValueError: it names a backup, but below another path.
    """
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return None
    found = _BACKUP_KEY.search(path)
    if found is None or found.end() != len(path) or (found.start() and path[found.start() - 1] != "/"):
        return None
    if parse_backup_time(found[0]) is None:
        return None
    before = path[: found.start()].strip("/")
    if before not in {"", prefix, f"{bucket}/{prefix}".rstrip("/")}:
        raise ValueError(before)
    return f"{prefix}/{found[0]}".lstrip("/")


def is_backup_key(key: str, prefix: str) -> bool:
    """Whether a key is that of a backup below a prefix, in the folders of its year and month.

    Others may be anybody's: one with `..` leads out of the path and of the bucket once it is in a URL, and
    one of a day that no calendar has would be the newest for ever.
    """
    own = FOLDER + key.removeprefix(prefix)
    return key.startswith(prefix) and bool(_BACKUP_KEY.fullmatch(own)) and parse_backup_time(key) is not None


def get_backup_time(key: str) -> str:
    """The time in the name of a backup, which sorts as text; empty for another key."""
    found = BACKUP_NAME.fullmatch(key.rpartition("/")[2])
    return found["time"] if found else ""


def parse_backup_time(key: str) -> datetime | None:
    """The time in the name of a backup; None for another key, and for a day that no calendar has."""
    time = get_backup_time(key)
    try:
        return datetime.strptime(f"{time[:-4]}{time[-4:-1]}000Z", "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None
