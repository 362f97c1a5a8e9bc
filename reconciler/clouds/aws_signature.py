"""Signs requests of the HTTP client for AWS, and for servers with its protocols (Signature Version 4)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reconciler.host.extras import import_extra

if TYPE_CHECKING:
    import httpx

S3: Final = "s3"
"""The service whose paths are signed as they are; for all others they are normalised first."""

_SIGNED: Final = ("host", "content-type")
"""Headers that are signed besides those of `x-amz-`; a proxy may change others on the way."""


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """A key pair of an AWS account, and the token that belongs to it if it is temporary."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


def make_aws_auth(credentials: AwsCredentials, *, region: str, service: str) -> httpx.Auth:
    """Authentication for the HTTP client; every attempt is signed with the time of that attempt.

    Args:
        credentials: of the account.
        region: such as `eu-central-1`.
        service: such as `s3` or `ec2`.

    Raises:
        UsageError: the extra `aws` is not installed.
    """
    import httpx  # noqa: PLC0415  (a tenth of a second that only these requests pay)

    signers = import_extra("botocore.auth", "aws", "Requests to AWS")
    requests = import_extra("botocore.awsrequest", "aws", "Requests to AWS")
    keys = import_extra("botocore.credentials", "aws", "Requests to AWS").Credentials(
        credentials.access_key_id, credentials.secret_access_key, credentials.session_token or None
    )
    make_signer = signers.S3SigV4Auth if service == S3 else signers.SigV4Auth

    class AwsAuth(httpx.Auth):
        requires_request_body = True

        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            headers = {
                name: value
                for name, value in request.headers.items()
                if name in _SIGNED or name.startswith("x-amz-")
            }
            signed = requests.AWSRequest(request.method, str(request.url), headers, request.content)
            make_signer(keys, service, region).add_auth(signed)
            request.headers.update(dict(signed.headers.items()))
            yield request

    return AwsAuth()
