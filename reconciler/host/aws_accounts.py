"""The accounts of AWS, and of servers that speak its protocols, which this host may use."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from reconciler.core.fields import Flag, StrictModel
from reconciler.host.config_fields import KeyFile, ServiceOrigin
from reconciler.host.instance_rules import InstanceRules

_BUCKET: Final = r"^[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]$"
_REGION: Final = r"^[a-z0-9][a-z0-9\-]{0,62}$"
_PROFILE: Final = r"^[A-Za-z0-9][A-Za-z0-9._@+\-]{0,127}$"


BucketName = Annotated[str, Field(pattern=_BUCKET)]
AwsRegion = Annotated[str, Field(pattern=_REGION)]
ProfileName = Annotated[str, Field(pattern=_PROFILE)]


class S3Rules(StrictModel):
    """The object storage of an account."""

    buckets: tuple[BucketName, ...] = Field(
        min_length=1,
        max_length=100,
        description="Buckets that this host may read; no others are requested. A bucket belongs to one "
        "account.",
        examples=[["m2-backups"]],
    )
    endpoint: ServiceOrigin | None = Field(
        default=None,
        description="Where another server than AWS is reached, such as MinIO or Ceph. "
        "Default: that of AWS in `region`.",
        examples=["https://storage.example.com:9000"],
    )
    path_style: Flag = Field(
        default=False,
        description="Whether the bucket is in the path (`https://HOST/BUCKET/…`) instead of the host name "
        "(`https://BUCKET.HOST/…`). Most servers other than AWS need it.",
    )


class AwsAccount(StrictModel):
    """An account of AWS, or of a server that speaks its protocols."""

    region: AwsRegion = Field(
        description="Region whose services are called, also by signatures for other servers.",
        examples=["eu-central-1"],
    )
    credentials: KeyFile | None = Field(
        default=None,
        description="File with its keys, as the AWS command line writes it. Without it they are in "
        "`RECONCILE_AWS_ACCESS_KEY_ID`, `RECONCILE_AWS_SECRET_ACCESS_KEY` and, for temporary ones, "
        "`RECONCILE_AWS_SESSION_TOKEN`.",
        examples=["/etc/reconciler/aws/credentials", "$CREDENTIALS_DIRECTORY/aws"],
    )
    profile: ProfileName = Field(default="default", description="Section of the file of `credentials`.")
    s3: S3Rules | None = Field(
        default=None,
        description="Its object storage. Without this key no bucket of it is read.",
        examples=[{"buckets": ["m2-backups"]}],
    )
    ec2: InstanceRules | None = Field(
        default=None,
        description="Its instances as nodes. Without this key it is not asked for instances.",
        examples=[{"networks": ["10.20.0.0/16"]}],
    )
