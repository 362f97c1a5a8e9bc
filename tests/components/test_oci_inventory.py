"""Requests to OCI, beside those of Oracle's own library: one server verifies the signatures of both."""

import asyncio
import base64
import json
from hashlib import sha256

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from support.cloud_servers import (
    COMPARTMENT,
    FINGERPRINT,
    REGION,
    SIGNATURE,
    TENANCY,
    USER,
    OciServer,
    Vm,
)

from reconciler.clouds.oci_signature import OciAuth
from reconciler.core.cloud_expressions import parse_expression
from reconciler.host.config import HostConfig
from reconciler.host.host import Host
from reconciler.inventory.resolver import InventoryResolver
from reconciler.ports.inventory import InventoryQuery

oci = pytest.importorskip("oci")

pytestmark = pytest.mark.component()


def make_vms(count):
    return [
        Vm(
            f"ocid1.instance.oc1.eu.n{number}",
            f"10.30.0.{number + 1}",
            {"edge": "yes"},
            name=f"edge-{number}",
        )
        for number in range(count)
    ]


def make_sdk(server, folder):
    """Oracle's client of the Core Services, for the same key."""
    key = folder / "key.pem"
    key.write_bytes(server.pem)
    key.chmod(0o600)
    config = {
        "tenancy": TENANCY,
        "user": USER,
        "fingerprint": FINGERPRINT,
        "key_file": str(key),
        "region": "eu-frankfurt-1",
    }
    endpoint = f"{server.url}/20160918"
    return (
        oci.core.ComputeClient(config, service_endpoint=endpoint),
        oci.core.VirtualNetworkClient(config, service_endpoint=endpoint),
        config,
    )


def list_by_sdk(compute, network):
    """Id -> address, as Oracle's library finds them out."""
    pages = oci.pagination.list_call_get_all_results
    running = pages(compute.list_instances, COMPARTMENT, lifecycle_state="RUNNING", limit=2).data
    attached = pages(compute.list_vnic_attachments, COMPARTMENT, limit=2).data
    found = {}
    for one in running:
        if "edge" not in one.freeform_tags:
            continue
        for card in attached:
            if card.instance_id == one.id and (vnic := network.get_vnic(card.vnic_id).data).is_primary:
                found[one.id] = vnic.private_ip
    return found


async def list_here(server, folder):
    key = folder / "own.pem"
    key.write_bytes(server.pem)
    key.chmod(0o600)
    rules = {"networks": ["10.30.0.0/16"], "compartments": [COMPARTMENT], "endpoint": server.url}
    account = {
        "region": REGION,
        "tenancy": TENANCY,
        "user": USER,
        "fingerprint": FINGERPRINT,
        "key": str(key),
        "compute": rules,
    }
    host = Host(HostConfig.model_validate({"oci": {"prod": account}}), {})
    query = InventoryQuery.of(parse_expression("oci:vm:tag=edge"))
    return (await InventoryResolver(host).resolve([query])).find(query).addresses


async def test_both_clients_find_the_same_instances_and_every_signature_is_verified(tmp_path):
    vms = make_vms(5)
    vms[1].tags, vms[2].state = {"other": "x"}, "stopped"
    async with OciServer(vms, page=2).running() as server:
        compute, network, _ = make_sdk(server, tmp_path)
        theirs = await asyncio.to_thread(list_by_sdk, compute, network)
        count = len(server.requests)
        ours = await list_here(server, tmp_path)
        assert not server.denied
        assert len(server.requests) > count > 5
    assert ours == theirs
    assert len(ours) == 3


async def test_a_key_that_the_server_does_not_know_is_refused_for_both(tmp_path):
    other = OciServer()
    async with OciServer(make_vms(1)).running() as server:
        known, server.key = server.key, other.key
        compute, network, _ = make_sdk(server, tmp_path)
        server.key = known
        with pytest.raises(oci.exceptions.ServiceError) as caught:
            await asyncio.to_thread(list_by_sdk, compute, network)
        assert caught.value.status == 401
        assert server.denied == ["NotAuthenticated: wrong signature"]


def test_a_request_with_a_body_is_signed_as_oracles_library_signs_it(tmp_path):
    server = OciServer()
    server.url = "http://127.0.0.1:1"
    _, _, config = make_sdk(server, tmp_path)
    body = json.dumps({"displayName": "x"}).encode()
    url = "https://iaas.eu-frankfurt-1.oraclecloud.com/20160918/instances?a=b"
    request = httpx.Request("POST", url, content=body, headers={"content-type": "application/json"})
    next(OciAuth(f"{TENANCY}/{USER}/{FINGERPRINT}", server.key).auth_flow(request))
    found = SIGNATURE.fullmatch(request.headers["authorization"])
    signer = oci.signer.Signer(TENANCY, USER, FINGERPRINT, config["key_file"])
    import requests  # noqa: PLC0415  (comes with Oracle's library)

    theirs = requests.Request("POST", url, data=body, headers={"content-type": "application/json"}).prepare()
    theirs.headers["date"] = request.headers["date"]
    theirs = signer(theirs)
    assert set(found["names"].split(" ")) == {
        "date",
        "(request-target)",
        "host",
        "content-length",
        "content-type",
        "x-content-sha256",
    }
    assert request.headers["x-content-sha256"] == theirs.headers["x-content-sha256"]
    assert request.headers["x-content-sha256"] == base64.b64encode(sha256(body).digest()).decode()
    shown = {**request.headers, "(request-target)": "post /20160918/instances?a=b"}
    text = "\n".join(f"{name}: {shown[name]}" for name in found["names"].split(" "))
    server.key.public_key().verify(base64.b64decode(found["signature"]), text.encode(), PKCS1v15(), SHA256())
