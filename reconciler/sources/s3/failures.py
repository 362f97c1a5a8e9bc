"""What error answers of S3 mean, in plain sentences; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from reconciler.errors import SourceError, SourceUnreachable
from reconciler.sources.s3.location import S3Location

_CODE: Final = re.compile(rb"<Code>\s*([A-Za-z0-9.]{1,64})\s*</Code>")
_REGION: Final = re.compile(rb"<Region>\s*([a-z0-9-]{1,63})\s*</Region>")
_REGION_FORM: Final = re.compile(r"[a-z0-9-]{1,63}")
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
_CODES: Final[Mapping[int, str]] = {401: "AccessDenied", 403: "AccessDenied", 404: "NoSuchKey"}
"""Status -> what it means where there is no code, as in the answer to a HEAD."""

_OF_REGION: Final = frozenset(
    {
        "PermanentRedirect",
        "TemporaryRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    }
)


@dataclass(frozen=True, slots=True)
class S3Failure:
    """An answer that is no success.

    Args:
        status: of HTTP.
        headers: with lower-case names.
        body: its begin; never shown.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def code(self) -> str:
        """The error code of S3; empty where there is none."""
        found = _CODE.search(self.body)
        return found[1].decode() if found else ""

    @property
    def region(self) -> str:
        """Where the bucket is, as far as the answer says so."""
        named = self.headers.get("x-amz-bucket-region", "")
        found = _REGION.search(self.body)
        return named if _REGION_FORM.fullmatch(named) else found[1].decode() if found else ""


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a code means, and what to do; with the placeholders account, bucket, region, shown."""

    code: str
    words: str
    remedy: str


class S3ObjectAbsent(SourceError):
    """There is no such object."""


def make_s3_error(failure: S3Failure, at: S3Location) -> SourceError:
    """The error for an answer: what it means, and what to do; nothing of its text is shown.

    Args:
        failure: the answer.
        at: what was asked for.
    """
    account, bucket, code = f"`aws.{at.account}`", at.bucket, failure.code or _CODES.get(failure.status, "")
    shown = at.shown
    answered = f"{shown}: the server answered {failure.status}{f' ({failure.code})' if failure.code else ''}"
    if code in _OF_REGION or failure.status in _MOVED:
        return _make_region_error(failure, at, answered)
    if code == "RequestTimeTooSkewed":
        return _make_clock_error(failure, answered)
    known = next((one for one in _MEANINGS if one.code == code), None)
    if code == "SlowDown" or (failure.status in _BUSY and known is None):
        return SourceUnreachable(
            f"{answered}: it cannot answer now", remedy="try again later, or check the server"
        )
    if code == "NoSuchKey":
        listing = "" if failure.code else "; a server also answers so if the keys must not list the bucket"
        return S3ObjectAbsent(f"{shown} does not exist", remedy=f"check bucket and path{listing}")
    if known is not None:
        names = {"account": account, "bucket": bucket, "region": at.rules.region, "shown": shown}
        words, remedy = known.words.format_map(names), known.remedy.format_map(names)
        return SourceError(f"{answered}: {words}", remedy=remedy)
    what = "" if failure.code else ", and not as S3 does"
    return SourceError(
        f"{answered}{what}",
        remedy=f"check `s3.endpoint` and `s3.path_style` of {account} in the host configuration",
    )


_MEANINGS: Final = (
    _Meaning(
        "SignatureDoesNotMatch",
        "the signature is wrong: the secret access key of {account} is not that of its access key id",
        "write the right pair of keys; for another server than AWS, check `region` and `path_style` too",
    ),
    _Meaning(
        "InvalidAccessKeyId",
        "it does not know the access key id of {account}",
        "check the keys; they may have been deleted, or belong to another server",
    ),
    _Meaning(
        "InvalidToken",
        "the session token of {account} is invalid",
        "write new temporary keys, all three of one session, or remove the token of permanent ones",
    ),
    _Meaning(
        "ExpiredToken",
        "the temporary keys of {account} have expired",
        "write new ones, all three of one session",
    ),
    _Meaning(
        "AccessDenied",
        "the keys of {account} may not read it",
        "allow s3:GetObject for arn:aws:s3:::{bucket}/* and s3:ListBucket for arn:aws:s3:::{bucket}",
    ),
    _Meaning("AccountProblem", "the account has a problem", "look at the account's messages at AWS"),
    _Meaning("AllAccessDisabled", "the bucket is disabled", "look at the account's messages at AWS"),
    _Meaning(
        "NoSuchBucket",
        "there is no bucket {bucket}",
        "correct the name in the address and in {account} of the host configuration, or the endpoint",
    ),
    _Meaning("InvalidBucketName", "{bucket} is not the name of a bucket", "correct the name"),
    _Meaning(
        "InvalidObjectState",
        "the object is in an archive of S3",
        "restore it first, with `aws s3api restore-object`",
    ),
    _Meaning("NotImplemented", "it cannot do this", "use a server that lists objects by version 2"),
    _Meaning(
        "XAmzContentSHA256Mismatch", "the request was changed on the way", "check the proxies on the way"
    ),
)


def _make_region_error(failure: S3Failure, at: S3Location, answered: str) -> SourceError:
    region, account = failure.region, f"`aws.{at.account}`"
    if region and region != at.rules.region:
        return SourceError(
            f"{answered}: the bucket {at.bucket} is in the region {region}, and {account} has "
            f"{at.rules.region}",
            remedy=f"set `region: {region}` in {account} of the host configuration",
        )
    return SourceError(
        f"{answered}: it redirects to another address, which is not followed: a signature is for one server",
        remedy=f"check `region`, `s3.endpoint` and `s3.path_style` of {account} in the host configuration",
    )


def _make_clock_error(failure: S3Failure, answered: str) -> SourceError:
    difference = ""
    try:
        theirs = parsedate_to_datetime(failure.headers.get("date", ""))
        seconds = (datetime.now(UTC) - theirs).total_seconds()
        ahead = "ahead of" if seconds > 0 else "behind"
        difference = f": this host is {abs(seconds) / 60:.0f} minutes {ahead} the server"
    except (ValueError, TypeError):  # no date, or one without a time zone
        pass
    return SourceError(
        f"{answered}: the clocks of this host and of the server differ too much{difference}",
        remedy="set the clock of this host by NTP (`timedatectl set-ntp true`), or the server's",
    )
