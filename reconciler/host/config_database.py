"""The section `database` of the host configuration, and what hosts of one database must have in common."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from pydantic import Field

from reconciler.core.canonical import encode_canonical
from reconciler.core.fields import SomeTime, StrictModel
from reconciler.host.config_fields import DatabaseUrl, KeyFile

SHARED_PASSES: Final = 16
"""Passes of those that hosts share which one of them runs at the same time."""

_OWN: Final = frozenset(
    {"state", "database", "operators", "history", "trusted_proxies", "nodes", "access", "commit_statuses"}
    | {"notifications"}
)
"""Sections that may differ from host to host: no plan depends on them."""

_OWN_OF_SSH: Final = frozenset({"keys", "agent", "known_hosts", "connections", "timeouts"})


class DatabaseAccess(StrictModel):
    """A PostgreSQL database for the state, which several hosts share."""

    url: DatabaseUrl = Field(
        description="`postgresql://USER@HOST:PORT/DATABASE`, without a password. Several hosts of one "
        "database are separated by commas; with `?target_session_attrs=read-write` the primary one is used. "
        "`?service=` names an entry of the service file.",
        examples=["postgresql://reconciler@db.example.com/reconciler?sslmode=verify-full"],
    )
    password: KeyFile | None = Field(
        default=None,
        description="File with the password. Default: `PGPASSFILE` or `~/.pgpass`, a service file, or none.",
        examples=["$CREDENTIALS_DIRECTORY/database"],
    )
    key: KeyFile | None = Field(
        default=None,
        description="File with the key of the state, the same on every host; the first host makes it. "
        "Default: `host.key` in the state folder.",
        examples=["/etc/reconciler/state.key"],
    )
    lease: SomeTime = Field(
        default=30.0,
        ge=5.0,
        le=600.0,
        description="How long a cluster stays with a host that was killed or has lost the database, before "
        "another one goes on with it. The same on every host.",
        examples=["30s"],
    )
    passes: int = Field(
        default=SHARED_PASSES,
        ge=1,
        le=1000,
        description="Passes that this host runs at the same time, of those that the hosts share.",
        examples=[16],
    )


def digest_plan_rules(config: StrictModel) -> dict[str, str]:
    """Section of a host configuration -> digest of what a plan depends on in it; none for an empty one."""
    values: dict[str, Any] = config.model_dump(mode="json", exclude=set(_OWN), exclude_defaults=True)
    for way in values.get("ssh", {}).values():
        for key in _OWN_OF_SSH & way.keys():
            del way[key]
    return {
        key: hashlib.sha256(encode_canonical(value)).hexdigest()[:16] for key, value in sorted(values.items())
    }
