"""The host's file: what it may say, and where it says something else."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from reconciler.cli.host_loader import parse_config
from reconciler.errors import InputError
from reconciler.host.config import HostConfig

WHOLE = """
state: /var/lib/reconciler
secrets: {folders: [$CREDENTIALS_DIRECTORY, /etc/reconciler/secrets], variables: MINE_}
networks: [192.0.2.0/24, "2001:db8::/32", 198.51.100.7]
trusted_proxies: [127.0.0.1/32]
signers: {required: ssh, allowed: /etc/reconciler/allowed_signers}
commands:
  stop-sora: {run: [ssh, "{host}", sudo, systemctl, stop, sora], timeout: 2m}
sora: {api_paths: ["https://node1.example.com/api"]}
"""


def test_a_whole_file_is_read():
    found = parse_config("host.yaml", WHOLE.encode())
    assert found.state == Path("/var/lib/reconciler")
    assert found.secrets.folders == ("$CREDENTIALS_DIRECTORY", Path("/etc/reconciler/secrets"))
    assert found.secrets.variables == "MINE_"
    assert found.networks == tuple(map(ip_network, ("192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32")))
    assert found.signers is not None
    assert found.signers.allowed == Path("/etc/reconciler/allowed_signers")
    assert found.commands["stop-sora"].run[1] == "{host}"
    assert found.commands["stop-sora"].timeout == 120.0


@pytest.mark.parametrize("text", ["", "{}", "# nothing yet\n"])
def test_an_empty_file_is_the_defaults(text):
    assert parse_config("host.yaml", text.encode()) == HostConfig()
    assert HostConfig().secrets.variables == "RECONCILE_SECRET_"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("state: var/lib", "host.yaml:1:8", "must begin with /"),
        ("state: /var/../etc", "host.yaml:1:8", "`..`"),
        ("networks:\n  - 192.0.2.1/24\n", "host.yaml:2:5", "with its first address"),
        ("networks: [no]", "host.yaml:1:12", "network"),
        ("networks: [3221225985]", "host.yaml:1:12", "network"),
        ("secrets: {folders: [/proc/self]}", "host.yaml:1:21", "/proc, /dev or /sys"),
        ("secrets: {folders: [/dev]}", "host.yaml:1:21", "/proc, /dev or /sys"),
        ("secrets: {folders: [/etc//../proc]}", "host.yaml:1:21", "`..`"),
        ("secrets: {folders: [//proc/self]}", "host.yaml:1:21", "/proc, /dev or /sys"),
        ("secrets: {variables: ''}", "host.yaml:1:22", "form"),
        ("secrets: {variables: A}", "host.yaml:1:22", "form"),
        ("commands: {'-x': {run: [a]}}", "host.yaml:1:18", "form"),
        ("commands: {x: {run: []}}", "host.yaml:1:21", "at least 1"),
        ("commands: {x: {run: rm -rf}}", "host.yaml:1:21", "list"),
        ("sora: {api_paths: ['http://a/b?c']}", "host.yaml:1:20", "without query"),
        ("sora: {api_paths: [node1.example.com/api]}", "host.yaml:1:20", "https://"),
        ("signers: {allowed: /x}", "host.yaml:1:10", "required"),
        ("netwerks: []", "host.yaml:1:1", "networks"),
        ("- a", "host.yaml:1:1", "mapping"),
    ],
)
def test_an_invalid_value_is_refused_with_its_position(text, place, words):
    with pytest.raises(InputError) as caught:
        parse_config("host.yaml", text.encode())
    assert place in str(caught.value)
    found = [f"{problem.message} {problem.remedy}" for problem in caught.value.problems]
    assert len(found) == 1
    assert words in found[0]
