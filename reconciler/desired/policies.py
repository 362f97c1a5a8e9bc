"""The models of the limits in a fleet file: those of every cluster, and those that products add."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import create_model

from reconciler.core.policy import Policy
from reconciler.desired.fleet_file import FleetFile
from reconciler.ports.driver import Driver


def make_policy_model(value: Any, drivers: Mapping[str, Driver[Any, Any]]) -> type[Policy]:
    """The model of the limits in a fleet file.

    The fleet's own policy counts for clusters of every kind, so it may name the limits of all products.
    Products are loaded only if the file names a limit that not every cluster has, because loading takes time.

    Args:
        value: the fleet file, valid or not.
        drivers: kind -> product.
    """
    listed = value.get("clusters") if isinstance(value, Mapping) else None
    clusters = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    policies = [part.get("policy") for part in (value, *clusters) if isinstance(part, Mapping)]
    named = {key for policy in policies if isinstance(policy, Mapping) for key in policy}
    if named <= Policy.model_fields.keys():
        return Policy
    kinds = {one["kind"] for one in clusters if isinstance(one.get("kind"), str)}
    return make_joint_policy_model(
        drivers[kind] for kind in sorted({*drivers, *(kind for kind in kinds if kind in drivers)})
    )


def make_joint_policy_model(drivers: Iterable[Driver[Any, Any]]) -> type[Policy]:
    """One model with the limits of all these products."""
    own = dict.fromkeys(driver.policy for driver in drivers if driver.policy is not Policy)
    return _join_policies(tuple(own))


@lru_cache(maxsize=16)
def _join_policies(policies: tuple[type[Policy], ...]) -> type[Policy]:
    if not policies:
        return Policy
    return create_model(Policy.__name__, __base__=policies, __doc__=Policy.__doc__)


@lru_cache(maxsize=16)
def make_fleet_file_model(policy: type[Policy]) -> type[FleetFile]:
    """The model of the fleet file's top level whose limits are these."""
    if policy is Policy:
        return FleetFile
    field: Any = (policy | None, FleetFile.model_fields["policy"])
    return create_model(FleetFile.__name__, __base__=FleetFile, __doc__=FleetFile.__doc__, policy=field)
