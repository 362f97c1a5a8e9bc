"""The accounts of Oracle Cloud Infrastructure that this host may use."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from reconciler.core.fields import StrictModel
from reconciler.host.config_fields import KeyFile
from reconciler.host.instance_rules import InstanceRules

_OCID: Final = r"^ocid1\.{kind}\.[A-Za-z0-9._\-]{{1,240}}$"
_REGION: Final = r"^[a-z0-9][a-z0-9\-]{0,62}$"
_FINGERPRINT: Final = r"^[0-9a-f]{2}(:[0-9a-f]{2}){15}$"

Tenancy = Annotated[str, Field(pattern=_OCID.format(kind="tenancy"))]
User = Annotated[str, Field(pattern=_OCID.format(kind="user"))]
Compartment = Annotated[str, Field(pattern=_OCID.format(kind="(compartment|tenancy)"))]


class OciInstanceRules(InstanceRules):
    """The instances of some compartments that become nodes."""

    compartments: tuple[Compartment, ...] = Field(
        min_length=1,
        max_length=20,
        description="Compartments whose instances count; those below them do not.",
        examples=[["ocid1.compartment.oc1..aaaaexample"]],
    )


class OciAccount(StrictModel):
    """A user of Oracle Cloud Infrastructure, with an API key."""

    region: Annotated[str, Field(pattern=_REGION)] = Field(
        description="Region whose services are called.", examples=["eu-frankfurt-1"]
    )
    tenancy: Tenancy = Field(description="Id of the tenancy.", examples=["ocid1.tenancy.oc1..aaaaexample"])
    user: User = Field(
        description="Id of the user that the key belongs to.", examples=["ocid1.user.oc1..aaaaexample"]
    )
    fingerprint: Annotated[str, Field(pattern=_FINGERPRINT)] = Field(
        description="Fingerprint of the key, as the console shows it.",
        examples=["20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34"],
    )
    key: KeyFile = Field(
        description="File of the private API key, in PEM without a password.",
        examples=["/etc/reconciler/oci/key.pem", "$CREDENTIALS_DIRECTORY/oci-key"],
    )
    compute: OciInstanceRules | None = Field(
        default=None,
        description="Its instances as nodes. Without this key it is not asked for instances.",
        examples=[{"networks": ["10.30.0.0/16"], "compartments": ["ocid1.compartment.oc1..aaaaexample"]}],
    )
