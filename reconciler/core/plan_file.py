"""The plan file: a plan with all that it was made from, so that exactly it is applied later, or nothing."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, TypeAdapter, ValidationError

from reconciler.core.canonical import fingerprint
from reconciler.core.fields import Flag, Strict, one
from reconciler.core.plan import Plan
from reconciler.errors import UsageError

EDITED = "plan-edited"
"""Code of a file that is not as it was written."""

_PLAN = TypeAdapter(Plan)
_PRINT = r"^(present [0-9a-f]{64}|stale [0-9a-f]{64}|absent|unauthorized|unreachable)$"

Print = Annotated[str, StringConstraints(pattern=_PRINT)]
"""What a node answered, as `core.prints` writes it."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A digest in hexadecimal."""


class Origin(Strict):
    """Where the desired state was read, as the command line said it; nothing secret is in it."""

    source: str = Field(
        description="Folder, git repository or tarball; without user, password and query, so that "
        "`reconcile apply` may have to be told it anew."
    )
    ref: str = Field(default="", description="The branch, tag or commit that was asked for.")
    path: str = Field(default="", description="The folder within the source.")
    only: str = Field(default="", description="The one cluster or node that was planned; empty for all.")
    whole: Flag = Field(default=True, description="Whether `source` is all of the address that was given.")


class PlanFile(Strict):
    """A plan file of version 1."""

    format: Literal["reconcile-plan"] = Field(
        default="reconcile-plan", description="Tells what this file is."
    )
    version: Annotated[Literal[1], BeforeValidator(one)] = Field(
        default=1, description="Version of this form."
    )
    made: str = Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
        description="When the nodes were read, in UTC.",
    )
    origin: Origin = Field(description="Where the desired state was read.")
    files: dict[str, Sha256] = Field(
        description="Path -> SHA-256 of every file that the desired state is made of."
    )
    observed: dict[str, dict[str, Print]] = Field(
        description="Cluster -> node -> what it answered: `present` or `stale` with the SHA-256 of what it "
        "showed, or `absent`, `unauthorized`, `unreachable`."
    )
    plan: dict[str, Any] = Field(
        description="The plan: its revision with the signer, the program's version, and the steps. Secrets "
        "are masked; what is sent to a node is made again from the revision."
    )
    digest: str = Field(
        default="",
        pattern=r"^([0-9a-f]{64})?$",
        description="SHA-256 over all the rest: a changed file is refused.",
    )

    def sealed(self) -> PlanFile:
        """The same file with its digest."""
        return self.model_copy(update={"digest": self.own_digest()})

    def own_digest(self) -> str:
        """SHA-256 of the canonical bytes of everything but `digest`."""
        return fingerprint(self.model_dump(mode="json", exclude={"digest"}))

    def written(self) -> bytes:
        """The file's bytes: indented JSON."""
        plain = self.model_dump(mode="json")
        return (json.dumps(plain, indent=2, ensure_ascii=True) + "\n").encode()

    def loaded(self) -> Plan:
        """The plan, without payloads.

        Raises:
            UsageError: it is none, though its digest fits.
        """
        try:
            plan = _PLAN.validate_python(self.plan)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = "/".join(str(part) for part in first["loc"])
            raise UsageError(f"the plan in the file is not whole: {place}: {first['msg']}") from None
        steps, clusters = list(plan.steps()), [own.cluster for own in plan.clusters]
        strange = any(step.cluster != own.cluster for own in plan.clusters for step in own.steps)
        strange |= len({step.id for step in steps}) < len(steps) or len(set(clusters)) < len(clusters)
        if strange or fingerprint(plan.plain()) != fingerprint(self.plan):
            raise UsageError("the plan in the file is not whole: it has parts that no plan has")
        return plan


_WRONG = {
    "model_type": "holds something else than an object",
    "extra_forbidden": "is no key of one, so that somebody changed it",
    "missing": "is missing, so that somebody changed it",
}
"""Kind of a mistake -> what is said of its place."""


class _Twice(ValueError):
    """A key stands twice."""


def parsed(data: bytes, name: str) -> PlanFile:
    """The plan file in some bytes, as it was written.

    Args:
        data: what stands in the file.
        name: the file's, for messages.

    Raises:
        UsageError: it is not a plan file, one of another version, or was changed.
    """
    remedy = "make a plan anew with `reconcile --dry-run --out FILE`"
    try:
        value = json.loads(data, object_pairs_hook=_once)
        told = value.get("version") if isinstance(value, dict) else None
        if isinstance(told, int) and told != 1 and value.get("format") == "reconcile-plan":
            raise UsageError(
                f"{name} is a plan file of version {told}, and only version 1 is known", remedy=remedy
            )
        found = PlanFile.model_validate(value)
        whole = found.digest == found.own_digest()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "/".join(str(part) for part in first["loc"])
        where = f"`{place}`" if place else "it"
        why = _WRONG.get(first["type"], first["msg"])
        raise UsageError(f"{name} is not a plan file: {where} {why}", remedy=remedy) from None
    except _Twice as error:
        raise UsageError(f"{name} is not as it was written: {error} [{EDITED}]", remedy=remedy) from None
    except (ValueError, RecursionError):
        raise UsageError(f"{name} is not a plan file: it is not plain JSON", remedy=remedy) from None
    if not whole:
        raise UsageError(
            f"{name} is not as it was written: its digest does not fit what stands in it [{EDITED}]",
            remedy=remedy,
        )
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand once each: of two, a person might read the one that does not count."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice("a key stands twice in one object")
    return found
