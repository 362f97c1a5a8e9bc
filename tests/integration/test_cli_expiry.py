"""Status names what expires soon: what is delivered, what this host shows, overrides, tokens and licences."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.commands import run_program
from support.m2_settings import managed_setting

from reconciler.drivers.sora.licences import list_licence_ends
from reconciler.drivers.sora.schema import NodeRow
from reconciler.secrets.dated_texts import find_certificate_end, find_dated_texts, find_token_end

NOW = datetime.now(UTC).replace(microsecond=0)


def certificate(days):
    """A certificate in PEM that ends after so many days."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")]),
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def token(**claims):
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    encoded = [urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts]
    return ".".join([*encoded, "c2ln"])


FLEET = """{more}clusters:
  - name: edge
    kind: m2
    setting: s.json
    resources: [site.pem, other.pem]
    nodes: [{{name: n0, address: '127.0.0.1:1'}}]
overrides:
  - {{guard: blast-radius, until: {until}, reason: for a while}}
  - {{guard: budget, target: edge, until: 2999-01-01, reason: for very long}}
"""


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "fleet"
    made.mkdir()
    until = (NOW + timedelta(days=5)).date()
    (made / "fleet.yaml").write_text(FLEET.format(more="", until=until))
    (made / "s.json").write_text(managed_setting("a.example"))
    (made / "site.pem").write_text(certificate(10.5) + certificate(200))
    (made / "other.pem").write_text(certificate(45))
    (tmp_path / "nodes.pem").write_text(certificate(-2.5))
    (tmp_path / "host.yaml").write_text(f"authorities: {{office: {tmp_path}/nodes.pem}}\n")
    return made


def status(folder, capsys, *more):
    here = (folder, "--no-state", "--host-config", folder.parent / "host.yaml")
    return run_program(capsys, "status", *here, *more, status=1)


def test_what_has_expired_or_expires_within_the_warning_is_named_the_first_one_first(folder, capsys):
    found = json.loads(status(folder, capsys, "--format", "json"))["expiring"]
    assert [(one["kind"], one["what"], one["target"], one["expired"]) for one in found] == [
        ("authority certificate", "office", "", True),
        ("override", "blast-radius", "", False),
        ("certificate", "site.pem", "edge", False),
    ]
    told = " ".join(status(folder, capsys).split())
    assert "Expires soon authority certificate office expired at" in told
    assert "UTC, 2 days ago override blast-radius expires at" in told
    assert "certificate site.pem of edge expires at" in told
    assert "UTC, in 10 days" in told


def test_how_long_before_is_set_in_the_fleet_file(folder, capsys):
    text = (folder / "fleet.yaml").read_text()
    for warning, kinds in (("60d", 4), ("7d", 2), ("0s", 1)):
        (folder / "fleet.yaml").write_text(f"expiry_warning: {warning}\n{text}")
        assert len(json.loads(status(folder, capsys, "--format", "json"))["expiring"]) == kinds


def test_a_token_and_a_certificate_are_found_in_a_text():
    end = int((NOW + timedelta(days=3)).timestamp())
    more = {"custom": {"key": f"Bearer {token(exp=end)}", "chain": [certificate(4)]}}
    assert find_token_end(more["custom"]["key"]) == datetime.fromtimestamp(end, UTC)
    assert find_certificate_end(more["custom"]["chain"][0].encode()) == NOW + timedelta(days=4)
    damaged = ("eyJhbGciOi.eyJ!.x", "eyJaaaaaaaa.eyJaaaaaaaa.x")
    for wrong in (token(exp="soon"), token(exp=1e300), token(), *damaged):
        assert find_token_end(wrong) is None
    assert find_certificate_end(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n") is None
    assert find_certificate_end(b"no certificate") is None
    found = [(pointer, kind.value) for pointer, kind, _ in find_dated_texts(more)]
    assert found == [("/custom/key", "token"), ("/custom/chain/0", "certificate")]


def test_the_month_in_the_serial_code_of_a_licence_is_its_last_one():
    def ends(serial):
        row = NodeRow.model_construct(node_name="n1", license_serial_code=serial, license_max_connections=1)
        view = SimpleNamespace(answering_nodes={"n1": SimpleNamespace(rows=[row])})
        desired = SimpleNamespace(entry=SimpleNamespace(name="live"))
        return [(one.target, one.at) for one in list_licence_ends(desired, view)]

    assert ends("ABCDEF-SRA-E001-202612-N10-500") == [("live/n1", datetime(2027, 1, 1, tzinfo=UTC))]
    assert ends("ABCDEF-SRA-E001-202603-N10-500") == [("live/n1", datetime(2026, 4, 1, tzinfo=UTC))]
    assert ends("ABCDEF-SRA-E001-202613-N10-500") == []
    assert ends(None) == []
