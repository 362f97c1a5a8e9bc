"""What is said of nodes that answer in every wrong way: the URL that was asked, and a remedy that fits it."""

import gzip
import json
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support.certificates import write_certificate
from support.commands import run_program
from support.hostile_nodes import no_http, say, send
from support.m2_settings import managed_setting

from reconciler.transports.http_errors import describe_connection_error

LOGIN = b"<html><form action=/login><input type=password></form></html>"
JSON = "application/json"


def compressed(request, coding):
    request.send_response(200)
    request.send_header("Content-Encoding", coding)
    request.send_header("Content-Length", "22")
    request.end_headers()
    request.wfile.write(gzip.compress(b"{}"))


def redirect(request, target):
    send(request, 301, b"", location=target)


ANSWERS = {
    "an error": (lambda it: send(it, 500, b"oops"), "answered 500", "look at the log of the node"),
    "not available": (lambda it: send(it, 503, b"later"), "answered 503", "try again later"),
    "a proxy": (lambda it: send(it, 502, b"no"), "answered 502", "does not reach the node behind it"),
    "moved": (
        lambda it: redirect(it, "https://other.example.com:8443/x?token=s3cret"),
        "redirected to https://other.example.com:8443/x",
        "write the address to which it redirects",
    ),
    "to a login": (lambda it: redirect(it, "/login?next=/"), "redirected to /login", "a login page answers"),
    "a login": (lambda it: send(it, 200, LOGIN, "text/html"), "answered 200", "a login page answers"),
    "a page": (lambda it: send(it, 200, b"<html>hi", "text/html"), "answered 200", "correct its address"),
    "NaN": (lambda it: send(it, 200, b'{"meta": NaN}', JSON), "NaN", "the answer is damaged"),
    "half of it": (lambda it: send(it, 200, b'{"meta": {"ver', JSON), "not JSON", "the answer is damaged"),
    "another API": (lambda it: say(it, 200, {"ok": True}), "an object with ok", "correct its address"),
    "too often": (lambda it: send(it, 429, b"slow"), "answered 429", "raise the limit of calls"),
    "gzip": (lambda it: compressed(it, "gzip"), "is compressed", "turn off compression"),
    "brotli": (lambda it: compressed(it, "br"), "is compressed", "turn off compression"),
    "SSH": (lambda it: no_http(it, "SSH-2.0-OpenSSH"), "not valid HTTP", "another service has this port"),
    "bytes": (lambda it: no_http(it, "\x00\x01\xff"), "binary data", "another service has this port"),
    "M2's own error": (
        lambda it: say(it, 500, {"version": "1", "method": "setting", "status": "Fail", "result": "x"}),
        "in M2's own form",
        "look at the log of the node",
    ),
}
"""Answer -> how it is given, what is said of it, and what is to be done."""

LIBRARY = ("b'", "Errno", "Brotli", "Error(", "object at", "Traceback", "httptools", "WRONG_VERSION")
"""What no operator should read."""


@contextmanager
def served(answer, context=None):
    class Node(BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Node)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def plan(folder, capsys, *urls):
    nodes = [{"name": f"n{number}", "address": url} for number, url in enumerate(urls, 1)]
    cluster = {"name": "edge", "kind": "m2", "setting": "s.json", "nodes": nodes}
    cluster["timeouts"] = {"read": 2, "connect": 2}
    (folder / "fleet.yaml").write_text(json.dumps({"clusters": [cluster]}))
    (folder / "s.json").write_text(managed_setting("a.example", version="1"))
    told = run_program(capsys, "--dry-run", "--no-state", folder, status=1)
    assert not [word for word in LIBRARY if word in told]
    return " ".join(told.split())


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_named_with_its_url_and_the_remedy_fits_it(tmp_path, capsys, name):
    answer, words, remedy = ANSWERS[name]
    with served(answer) as port:
        told = plan(tmp_path, capsys, f"http://127.0.0.1:{port}")
    assert f"http://127.0.0.1:{port}/setting/setting.json" in told
    assert words in told
    assert remedy in told
    assert "start the node, or correct its" not in told
    assert "s3cret" not in told


@pytest.mark.parametrize(
    ("url", "words", "remedy"),
    [
        ("http://127.0.0.1:9", "connection refused (http://127.0.0.1:9/", "start the node, or correct its"),
        ("http://no-such-host.invalid:80", "name does not resolve (http://no-such", "correct the host name"),
    ],
)
def test_no_connection_is_named_with_its_url(tmp_path, capsys, url, words, remedy):
    told = plan(tmp_path, capsys, url)
    assert words in told
    assert remedy in told


def test_nodes_that_fail_alike_share_a_sentence_without_their_addresses(tmp_path, capsys):
    told = plan(tmp_path, capsys, *(f"http://127.0.0.{number}:9" for number in range(1, 30)))
    assert "(29 nodes) could not be read: connection refused (http://ADDRESS/setting/setting.json)" in told


def test_a_certificate_that_is_not_trusted_names_the_authority_and_other_faults_theirs(tmp_path, capsys):
    files = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["certificate"], files["key"])
    with served(lambda it: say(it, 200, {}), context) as port:
        told = plan(tmp_path, capsys, f"https://127.0.0.1:{port}")
        assert "TLS certificate not trusted" in told
        assert f"https://127.0.0.1:{port}/" in told
        assert "SSL_CERT_FILE" in told
        assert "`authority`" in told
        assert "start the node" not in told
    with served(lambda it: say(it, 200, {})) as port:
        told = plan(tmp_path, capsys, f"https://127.0.0.1:{port}")
        assert "the port does not speak TLS" in told
        assert "write http:// in its address" in told


def write_signed(folder, name, hosts, days, authority=None):
    """A certificate for hosts, valid between two days from now; a file with certificate and key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = authority or (own, key)
    builder = x509.CertificateBuilder(issuer, own, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now + timedelta(days[0])).not_valid_after(now + timedelta(days[1]))
    builder = builder.add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    file = folder / f"{name}.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(builder.sign(signer, SHA256()).public_bytes(Encoding.PEM) + secret)
    return file, (own, key)


HERE = [x509.IPAddress(ip_address("127.0.0.1"))]
CERTIFICATES = {
    "expired": (HERE, (-9, -1), "it has expired", "renew the certificate"),
    "early": (HERE, (1, 9), "it is not valid yet", "check the clocks"),
    "other": (
        [x509.DNSName("a.example")],
        (-1, 9),
        "it is for other addresses than this one",
        "write the name",
    ),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_that_does_not_fit_is_told_in_plain_words(tmp_path, capsys, monkeypatch, name):
    hosts, days, words, remedy = CERTIFICATES[name]
    authority, signer = write_signed(tmp_path, "authority", [], (-10, 10))
    file, _ = write_signed(tmp_path, name, hosts, days, signer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with served(lambda it: say(it, 200, {}), context) as port:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        told = plan(tmp_path, capsys, f"https://127.0.0.1:{port}")
        assert f"TLS certificate not trusted: {words}" in told
        assert remedy in told
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))
        told = plan(tmp_path, capsys, f"https://127.0.0.1:{port}")
        assert "it is signed by an authority that is not known here" in told
        assert "the variable SSL_CERT_FILE names" in told
        assert "nothing.pem, which is no file of certificates: correct it" in told


@pytest.mark.parametrize(
    ("code", "words", "remedy"),
    [
        ("TLSV1_ALERT_PROTOCOL_VERSION", "it speaks no version of TLS that is accepted here", "version 1.2"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "it asks for a client certificate", "without a client"),
        ("EE_KEY_TOO_SMALL", "its key is too short", "a longer key"),
        ("SOMETHING_NEW", "something new", "version 1.2"),
    ],
)
def test_a_failed_handshake_is_told_in_plain_words(code, words, remedy):
    error = ssl.SSLError(1, f"[SSL: {code}] {code.lower().replace('_', ' ')} (_ssl.c:1006)")
    error.reason = code
    failed = describe_connection_error(error)
    assert failed.reason == f"TLS failed: {words}"
    assert remedy in failed.remedy
