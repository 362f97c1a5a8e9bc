import httpx
import pytest
from support.cloud_servers import (
    COMPARTMENT,
    CUT,
    FINGERPRINT,
    REGION,
    TENANCY,
    USER,
    Ec2Server,
    OciServer,
    Vm,
)

from reconciler.clouds.aws_signature import AwsCredentials, make_aws_auth
from reconciler.clouds.oci_signature import OciAuth
from reconciler.core.cloud_expressions import parse_expression
from reconciler.errors import InventoryError
from reconciler.inventory import cloud_calls
from reconciler.inventory.cloud_calls import open_client
from reconciler.inventory.ec2 import Ec2Client
from reconciler.inventory.oci import OciClient

EDGE = parse_expression("aws:vm:tag=edge")


def ec2_vms(count):
    return [Vm(f"i-{number:017x}", f"10.20.{number // 250}.{number % 250 + 1}") for number in range(count)]


def oci_vms(count):
    return [
        Vm(f"ocid1.instance.oc1.eu.n{number}", f"10.30.{number // 250}.{number % 250 + 1}")
        for number in range(count)
    ]


async def ask_ec2(server, expression=EDGE, secret=Ec2Server.keys.secret):
    auth = make_aws_auth(AwsCredentials(server.keys.id, secret), region=REGION, service="ec2")
    async with open_client(auth, trust_env=False) as client:
        return await Ec2Client(client, server.url, "EC2 of `prod`").list_instances(expression)


async def ask_oci(server, expression=EDGE, key=None):
    auth = OciAuth(f"{TENANCY}/{USER}/{FINGERPRINT}", key or server.key)
    async with open_client(auth, trust_env=False) as client:
        return await OciClient(client, server.url, [COMPARTMENT], "OCI of `prod`").list_instances(expression)


CLOUDS = [(Ec2Server, ask_ec2, ec2_vms), (OciServer, ask_oci, oci_vms)]
POSITIONS = [0, 1]
"""How many good answers come before a fault."""


@pytest.mark.parametrize(("make", "ask", "vms"), CLOUDS)
async def test_all_pages_are_read_and_each_request_is_signed(make, ask, vms):
    async with make(vms(7), page=3).running() as server:
        found = await ask(server)
    assert [one.id for one in found] == sorted(one.id for one in vms(7))
    assert {one.address for one in found} == {one.address for one in vms(7)}
    assert not server.denied


@pytest.mark.parametrize(("make", "ask", "vms"), CLOUDS)
async def test_no_instance_is_an_empty_list_and_no_error_of_the_client(make, ask, vms):
    async with make().running() as server:
        assert await ask(server) == ()


@pytest.mark.parametrize(("make", "ask", "vms"), CLOUDS)
async def test_only_instances_with_a_tag_that_run_count(make, ask, vms):
    good, other, stopped = vms(3)
    other.tags, stopped.state, stopped.code = {"Edge": "yes"}, "stopped", 80
    async with make([good, other, stopped]).running() as server:
        assert [one.id for one in await ask(server)] == [good.id]


async def test_ec2_counts_by_the_number_and_the_name_of_the_state_and_the_address():
    vms = ec2_vms(5)
    vms[0].state = "Running"
    vms[1].code = 32
    vms[2].address = None
    vms[3].tags, vms[4].tags = {"type": "parent"}, {"type": "other"}
    expression = parse_expression("aws:vm:tag=type=parent;edge=;")
    async with Ec2Server(vms).running() as server:
        assert [one.id for one in await ask_ec2(server, expression)] == [vms[0].id, vms[3].id]


async def test_a_key_with_a_wildcard_means_itself():
    vms = ec2_vms(2)
    vms[0].tags, vms[1].tags = {"ed*": "x"}, {"edge": "x"}
    async with Ec2Server(vms).running() as server:
        found = await ask_ec2(server, parse_expression("aws:vm:tag=ed*"))
    assert [one.id for one in found] == [vms[0].id]
    assert rb"%5C%2A" in server.requests[0][2]


@pytest.mark.parametrize("spelling", ["freeformTags", "FreeFormTags", "freeformtags"])
async def test_oci_tags_count_in_any_case_of_the_fields_name(spelling):
    async with OciServer(oci_vms(1), spelling=spelling).running() as server:
        (found,) = await ask_oci(server)
    assert found.address == "10.30.0.1"


@pytest.mark.parametrize(("make", "ask", "vms"), CLOUDS)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (500, "answers 500"),
        (302, "answers 302"),
        (CUT, "does not answer completely"),
        (b"", "is cut or not"),
        (b"{", "is cut or not"),
        (b"<a><b></a>", "is cut or not"),
        (b"<a/>", "not"),
        (b"{}", "not"),
        (b"null", "not"),
        (b"[1]", "not"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "not"),
        (b"<a>" * 100_000, "not"),
        (b"[" * 100_000, "not"),
        ("é".encode("utf-16"), "not"),
    ],
)
async def test_a_fault_on_any_page_is_an_error_and_never_a_shorter_list(make, ask, vms, fault, reason):
    for after in POSITIONS:
        async with make(vms(4), page=2).running() as server:
            server.faults = [None] * after + [fault]
            with pytest.raises(InventoryError, match=reason) as caught:
                await ask(server)
        assert "prod" in caught.value.message
        assert len(caught.value.message) < 600


async def test_wrong_keys_are_refused_with_what_to_do():
    async with Ec2Server(ec2_vms(1)).running() as server:
        with pytest.raises(InventoryError, match="answers 401") as caught:
            await ask_ec2(server, secret="wrong")
        assert "credentials" in caught.value.remedy
        assert server.denied == ["SignatureDoesNotMatch"]
    async with OciServer(oci_vms(1)).running() as server:
        with pytest.raises(InventoryError, match="answers 401"):
            await ask_oci(server, key=OciServer().key)


class Looping(Ec2Server):
    def answer(self, method, target, body):
        status, headers, answer = super().answer(method, target, body)
        return status, headers, re_mark(answer)


def re_mark(answer):
    return answer.replace(b"</reservationSet>", b"</reservationSet><nextToken>0</nextToken>")


async def test_pages_that_lead_in_a_circle_end_as_an_error():
    async with Looping(ec2_vms(1)).running() as server:
        with pytest.raises(InventoryError, match="twice"):
            await ask_ec2(server)


class Endless(OciServer):
    def answer(self, method, target, body):
        status, _, answer = super().answer(method, target, body)
        return status, {"opc-next-page": str(len(self.requests))}, answer


async def test_pages_without_an_end_are_an_error(monkeypatch):
    monkeypatch.setattr(cloud_calls, "MOST_PAGES", 5)
    async with Endless(oci_vms(1)).running() as server:
        with pytest.raises(InventoryError, match="more than 5 pages"):
            await ask_oci(server)


async def test_an_instance_on_two_pages_is_one_and_with_two_addresses_an_error():
    same = ec2_vms(1)[0]
    async with Ec2Server([same, same], page=1).running() as server:
        assert len(await ask_ec2(server)) == 1
    moved = Vm(same.id, "10.20.9.9")
    async with Ec2Server([same, moved], page=1).running() as server:
        with pytest.raises(InventoryError, match="two addresses"):
            await ask_ec2(server)


@pytest.mark.parametrize("address", ["nowhere", "10.0.0", "10.0.0.1/8", "::1%eth0", "0x7f.1"])
async def test_an_address_that_is_none_is_an_error(address):
    async with Ec2Server([Vm("i-00000001", address)]).running() as server:
        with pytest.raises(InventoryError, match="which is none"):
            await ask_ec2(server)


@pytest.mark.parametrize("number", ["", "../x", "i-xyz", "i-" + "0" * 99])
async def test_an_id_that_is_none_is_an_error(number):
    async with Ec2Server([Vm(number)]).running() as server:
        with pytest.raises(InventoryError, match="valid id"):
            await ask_ec2(server)


async def test_a_running_instance_without_a_primary_interface_is_an_error():
    class Bare(OciServer):
        def _list_attachments(self):
            return super()._list_attachments()[::2]  # the secondary ones

    async with Bare(oci_vms(1)).running() as server:
        with pytest.raises(InventoryError, match="no primary network interface"):
            await ask_oci(server)


@pytest.mark.parametrize("identity", [[], {}, {"a": 1}, None, 7])
async def test_an_attachment_of_no_instance_is_none_of_a_node(identity):
    class Odd(OciServer):
        def _list_attachments(self):
            return [{"instanceId": identity, "vnicId": "x"}, *super()._list_attachments()]

    async with Odd(oci_vms(1)).running() as server:
        (found,) = await ask_oci(server)
    assert found.address == "10.30.0.1"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (
            b"<Response><Errors><Error><Code>SignatureDoesNotMatch</Code><Message>%s</Message>",
            "SignatureDoesNotMatch",
        ),
        (b'{"code": "NotAuthenticated", "message": "%s"}', "NotAuthenticated"),
        (b"<html>%s</html>", ""),
        (b"<Code>%s</Code>", ""),
        (b'{"code": "\x1b[2J%s"}', ""),
    ],
)
async def test_of_an_error_of_a_cloud_its_code_is_shown_and_nothing_else(body, shown):
    # AWS shows what was signed, with the session token; proxies show headers.
    secret = b"x-amz-security-token:SECRET-TOKEN"
    request = httpx.Request("POST", "https://cloud.example/")
    transport = httpx.MockTransport(lambda _: httpx.Response(403, content=body.replace(b"%s", secret)))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(InventoryError) as caught:
            await cloud_calls.call_cloud(client, request, "EC2 of `prod`")
    assert caught.value.message == "EC2 of `prod` answers 403" + (f" ({shown})" if shown else "")


async def test_an_answer_beyond_the_bound_is_an_error(monkeypatch):
    monkeypatch.setattr(cloud_calls, "LARGEST_ANSWER", 1000)
    async with Ec2Server(ec2_vms(100)).running() as server:
        with pytest.raises(InventoryError, match="more than 1000 bytes"):
            await ask_ec2(server)


async def test_a_server_that_is_away_is_an_error():
    server = Ec2Server()
    async with server.running():
        pass
    with pytest.raises(InventoryError, match="does not answer"):
        await ask_ec2(server)
