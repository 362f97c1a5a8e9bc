"""Keys of an AWS account of the host configuration: from its file, or from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ParserError
from dataclasses import fields
from pathlib import Path
from typing import Final

from reconciler.clouds.aws_signature import AwsCredentials
from reconciler.errors import UsageError
from reconciler.host.aws_accounts import AwsAccount
from reconciler.host.credentials import (
    AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY,
    AWS_SESSION_TOKEN,
    find_key_file,
    name_file_variable,
    read_credential,
    read_key_text,
)

_LARGEST: Final = 256 * 1024
_LONGEST: Final = 8192
"""Characters of a session token at most; those of AWS have less than 2,000."""

_KEYS: Final = tuple(f"aws_{one.name}" for one in fields(AwsCredentials))
"""As the AWS command line names them, in the order of the fields."""


def read_aws_credentials(name: str, account: AwsAccount, environment: Mapping[str, str]) -> AwsCredentials:
    """The keys of an account; read at every call, so that new ones need no restart.

    Args:
        name: of the account in the host configuration, for messages.
        account: its entry.
        environment: of the process.

    Raises:
        UsageError: there are none, or they cannot be read; no value is shown.
    """
    if account.credentials is None:
        variables = (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN)
        values = [read_credential(environment, variable).strip() for variable in variables]
        where = "the environment"
        keys: tuple[str, ...] = variables
        remedy = (
            f"set `aws.{name}.credentials` in the host configuration, or set {AWS_ACCESS_KEY_ID} and "
            f"{name_file_variable(AWS_SECRET_ACCESS_KEY)}"
        )
    else:
        file = find_key_file(account.credentials, environment)
        values = _read_profile(file, account.profile)
        where, keys = f"the section [{account.profile}] of {file}", _KEYS
        remedy = f"write {_KEYS[0]} and {_KEYS[1]} into that section, as `aws configure` does"
    missing = [key for key, value in zip(keys[:2], values[:2], strict=True) if not value]
    if missing:
        raise UsageError(
            f"the AWS account `{name}` has no keys: {where} has no {' and no '.join(missing)}", remedy=remedy
        )
    for key, value in zip(keys, values, strict=True):
        # They reach headers: a line break would add one.
        if len(value) > _LONGEST or not (value.isascii() and value.isprintable()) or " " in value:
            raise UsageError(
                f"the AWS account `{name}`: {key} in {where} contains characters that a key cannot have",
                remedy="write it again without spaces, quotes and line breaks",
            )
    return AwsCredentials(*values)


def _read_profile(file: Path, profile: str) -> list[str]:
    """The values of `_KEYS` in a section of a file that the AWS command line writes."""
    text = read_key_text(file, "the file of AWS keys", limit=_LARGEST)
    parser = ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(text)
    except ParserError as error:
        wrong = getattr(error, "errors", None)
        line = wrong[0][0] if wrong else getattr(error, "lineno", None)
        place = f"{file}:{line}" if line else str(file)
        # The parser's own words quote the line, which may be a key.
        raise UsageError(
            f"the file of AWS keys {place} is not in the form that the AWS command line writes",
            remedy=f"write [{profile}] and below it KEY = VALUE lines",
        ) from None
    if not parser.has_section(profile):
        raise UsageError(
            f"the file of AWS keys {file} has no section [{profile}]",
            remedy="correct `profile` in the host configuration, or add the section",
        )
    return [parser.get(profile, key, fallback="").strip() for key in _KEYS]
