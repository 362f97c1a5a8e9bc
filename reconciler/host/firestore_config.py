"""The section of the host configuration about Firestore databases."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from reconciler.core.fields import Flag, StrictModel
from reconciler.core.firestore_paths import LONGEST
from reconciler.host.config_fields import KeyFile, ListenAddress

_PROJECT: Final = r"^(?:[a-z0-9.\-]{1,100}:)?[a-z][a-z0-9\-]{4,28}[a-z0-9]$"
_DATABASE: Final = r"^(?:\(default\)|[a-z][a-z0-9\-]{2,61}[a-z0-9])$"
_PATTERN: Final = r"^[^/\x00-\x1f\x7f]+(/[^/\x00-\x1f\x7f]+)*$"

MOST_KEPT: Final = 10_000
"""Documents of a collection that are read where they stay."""


class FirestoreProject(StrictModel):
    """A Firestore database that a fleet file or a node's setting may name."""

    project: str = Field(
        pattern=_PROJECT,
        description="Id of the project in Google Cloud or Firebase.",
        examples=["m2live-prod"],
    )
    database: str = Field(
        default="(default)", pattern=_DATABASE, description="Id of the database within the project."
    )
    credentials: KeyFile | None = Field(
        default=None,
        description="Key file of a service account, in JSON as Google Cloud gives it. "
        "`$CREDENTIALS_DIRECTORY/NAME` is a credential of the systemd unit. No other credentials of this "
        "machine are used.",
        examples=["/etc/reconciler/firestore.json"],
    )
    emulator: ListenAddress | None = Field(
        default=None,
        description="Address of a Firestore emulator, which is called without encryption or login, in place "
        "of `credentials`; for tests.",
        examples=["127.0.0.1:8080"],
    )

    paths: tuple[Annotated[str, Field(pattern=_PATTERN, max_length=LONGEST)], ...] = Field(
        default=(),
        max_length=1000,
        description="Paths that settings may name as `doc`, and fleet files as the collection of `feedback`, "
        "after `#m2live.nodeId` is replaced; `*` is any text. Without an entry all are allowed.",
        examples=[["m2nodes/*/events"]],
    )
    consume: Flag = Field(
        default=False,
        description="Whether a document that a node added to a collection is deleted once its report is "
        "recorded here. Otherwise the documents stay for others, and somebody has to delete old ones: of a "
        f"collection, at most {MOST_KEPT} documents are read.",
    )

    @model_validator(mode="after")
    def _require_one(self) -> FirestoreProject:
        if (self.credentials is None) == (self.emulator is None):
            raise PydanticCustomError("firestore_login", "either `credentials` or `emulator` is needed")
        return self
