"""The accounts of the host configuration that give instances, and their clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from reconciler.clouds.aws_credentials import read_aws_credentials
from reconciler.clouds.aws_signature import make_aws_auth
from reconciler.clouds.oci_credentials import read_oci_key
from reconciler.core.cloud_expressions import CloudProvider, CloudTarget
from reconciler.host.aws_accounts import AwsAccount
from reconciler.host.host import Host
from reconciler.host.instance_rules import InstanceRules
from reconciler.host.oci_accounts import OciAccount, OciInstanceRules
from reconciler.ports.inventory import InventoryClient, InventoryQuery, UnreadInventory

_SECTION: Final = {CloudProvider.AWS: "ec2", CloudProvider.OCI: "compute"}
"""Part of an account that allows its instances."""


@dataclass(frozen=True, slots=True)
class InventoryAccount:
    """An account that gives instances.

    Args:
        pointer: of its rules in the host configuration, for messages.
        label: names the cloud and the account in messages.
        place: what of the configuration decides which instances it has, to keep lists apart.
        connect: opens its client; the keys are read then.
    """

    name: str
    pointer: str
    label: str
    place: str
    rules: InstanceRules
    connect: Callable[[], AbstractAsyncContextManager[InventoryClient]]


def find_account(host: Host, query: InventoryQuery) -> InventoryAccount | UnreadInventory:
    """The account that a query means, or why there is none."""
    provider = query.expression.provider
    if query.expression.target is CloudTarget.VIP:
        return UnreadInventory(
            f"{query.expression} asks for load balancers: the manual of M2 does not say which objects of a "
            "cloud these are",
            "list their addresses instead",
        )
    accounts: Mapping[str, AwsAccount | OciAccount] = (
        host.config.aws if provider is CloudProvider.AWS else host.config.oci
    )
    section = _SECTION[provider]
    named = [query.account] if query.account else [name for name, one in accounts.items() if _get_rules(one)]
    if len(named) > 1:
        return UnreadInventory(
            f"this host has several accounts of `{provider}` with instances: {', '.join(named)}",
            "name one of them in the fleet file, as `account`",
        )
    if not named or named[0] not in accounts:
        what = f"no account `{named[0]}`" if named else f"no account with `{section}`"
        return UnreadInventory(
            f"the host configuration has {what} in `{provider}`",
            f"add it on the management host, with `{section}` and its `networks`",
            is_elsewhere=host.file is None and not accounts,
        )
    name, account = named[0], accounts[named[0]]
    rules = _get_rules(account)
    if rules is None:
        return UnreadInventory(
            f"the account `{name}` of `{provider}` in the host configuration may not be asked for instances",
            f"add `{provider}.{name}.{section}` with its `networks`",
        )
    label = f"{'EC2' if isinstance(account, AwsAccount) else 'OCI'} of `{name}` in {account.region}"
    compartments = rules.compartments if isinstance(rules, OciInstanceRules) else ()
    place = " ".join((provider, name, account.region, rules.endpoint or "", *compartments))
    connect = (
        partial(_open_ec2, host, name, account, rules, label)
        if isinstance(account, AwsAccount)
        else partial(_open_oci, host, name, account, rules, label)
    )
    return InventoryAccount(name, f"{provider}.{name}.{section}", label, place, rules, connect)


def _get_rules(account: AwsAccount | OciAccount) -> InstanceRules | None:
    return account.ec2 if isinstance(account, AwsAccount) else account.compute


@asynccontextmanager
async def _open_ec2(
    host: Host, name: str, account: AwsAccount, rules: InstanceRules, label: str
) -> AsyncIterator[InventoryClient]:
    # The HTTP client takes a tenth of a second to import, which only fleets with an inventory pay.
    from reconciler.inventory.cloud_calls import open_client  # noqa: PLC0415
    from reconciler.inventory.ec2 import Ec2Client, get_ec2_endpoint  # noqa: PLC0415

    keys = read_aws_credentials(name, account, host.environment)
    endpoint = rules.endpoint or get_ec2_endpoint(account.region)
    async with open_client(make_aws_auth(keys, region=account.region, service="ec2")) as client:
        yield Ec2Client(client, endpoint, label)


@asynccontextmanager
async def _open_oci(
    host: Host, name: str, account: OciAccount, rules: InstanceRules, label: str
) -> AsyncIterator[InventoryClient]:
    from reconciler.clouds.oci_signature import OciAuth  # noqa: PLC0415
    from reconciler.inventory.cloud_calls import open_client  # noqa: PLC0415
    from reconciler.inventory.oci import OciClient, get_oci_endpoint  # noqa: PLC0415

    key = read_oci_key(name, account, host.environment)
    assert isinstance(rules, OciInstanceRules)
    auth = OciAuth(f"{account.tenancy}/{account.user}/{account.fingerprint}", key)
    endpoint = rules.endpoint or get_oci_endpoint(account.region)
    async with open_client(auth) as client:
        yield OciClient(client, endpoint, rules.compartments, label)
