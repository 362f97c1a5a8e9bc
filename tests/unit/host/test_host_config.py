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


def test_a_file_entry_has_safe_defaults():
    text = """
commands: {reload-nginx: {run: [systemctl, reload, nginx]}}
files:
  upstream:
    {path: "/etc/nginx/{node}.conf", reload: reload-nginx, check: [nginx, -t, -c, "{file}"], limit: 64KiB}
"""
    file = parse_config("host.yaml", text.encode()).files["upstream"]
    assert file.path == Path("/etc/nginx/{node}.conf")
    assert (file.limit, file.mode, file.owner, file.ssh) == (65_536, "0600", None, None)
    assert not file.sudo
    assert not file.follow


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
        ("files: {a: {path: etc/x}}", "host.yaml:1:19", "must begin with /"),
        ("files: {a: {path: /a/../b}}", "host.yaml:1:19", "`..`"),
        ("files: {a: {path: //dev/sda}}", "host.yaml:1:19", "/proc, /dev and /sys"),
        ("files: {a: {path: /./sys/x}}", "host.yaml:1:19", "/proc, /dev and /sys"),
        ("files: {a: {path: '/etc/{host}'}}", "host.yaml:1:19", "the only placeholder of a path is {node}"),
        ("files: {a: {path: /etc/}}", "host.yaml:1:19", "that of a file"),
        ("files: {a: {path: /}}", "host.yaml:1:19", "that of a file"),
        ('files: {a: {path: "/etc/x\\ny"}}', "host.yaml:1:19", "on one line"),
        ("files: {a: {path: /x, ssh: y}}", "host.yaml:1:28", "`ssh` has no such entry"),
        ("files: {a: {path: /x, reload: y}}", "host.yaml:1:31", "`commands` has no such entry"),
        ("files: {a: {path: /x, check: [a]}}", "host.yaml:1:30", "must have the placeholder {file}"),
        ("files: {a: {path: /x, check: ['{file}', '{file}']}}", "host.yaml:1:30", "only placeholder"),
        ("files: {a: {path: /x, check: [a, '{file}', '{node}']}}", "host.yaml:1:30", "only placeholder"),
        ("files: {a: {path: /x, limit: 1MB}}", "host.yaml:1:30", "`64KiB`"),
        ("files: {a: {path: /x, limit: 1GiB}}", "host.yaml:1:30", "at most"),
        ("files: {a: {path: /x, limit: 0}}", "host.yaml:1:30", "at least 1"),
        ("files: {a: {path: /x, mode: '4755'}}", "host.yaml:1:29", "form"),
        ("files: {a: {path: /x, owner: 'a:b:c'}}", "host.yaml:1:30", "form"),
        ("files: {'../x': {path: /x}}", "host.yaml:1:17", "form"),
        ("netwerks: []", "host.yaml:1:1", "networks"),
        ("commands: {x: {run: [a], ssh: far}}", "host.yaml:1:31", "no entry of `ssh`"),
        ("ssh: {far: {user: u, known_hosts: /k}}", "host.yaml:1:12", "`keys` or `agent: true`"),
        ("ssh: {far: {user: u, keys: [id], known_hosts: /k}}", "host.yaml:1:29", "must begin with /"),
        ("ssh: {far: {user: u, keys: [/id]}}", "host.yaml:1:12", "known_hosts"),
        ("ssh: {far: {user: u, agent: yes please, known_hosts: /k}}", "host.yaml:1:29", "`true` or `false`"),
        ("ssh: {far: {user: u, agent: true, known_hosts: /k, jump: a}}", "host.yaml:1:58", "no entry"),
        ("ssh: {far: {user: u, agent: true, known_hosts: /k, jump: far}}", "host.yaml:1:58", "lead back"),
        ("ssh: {far: {user: '-oProxyCommand=x', agent: true, known_hosts: /k}}", "host.yaml:1:19", "form"),
        ("ssh: {far: {user: u, agent: true, known_hosts: /k, host: '{port}'}}", "host.yaml:1:58", "form"),
        ("ssh: {far: {user: u, keys: [/proc/x], known_hosts: /k}}", "host.yaml:1:29", "/proc"),
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


def test_a_jump_host_is_one_machine():
    text = "ssh:\n" + "\n".join(
        f"  {name}: {{user: u, agent: true, known_hosts: /k, {rest}}}"
        for name, rest in {
            "far": "jump: near",
            "near": "host: near.example.com, jump: door",
            "door": "host: door.example.com",
            "loose": "jump: far",
        }.items()
    )
    with pytest.raises(InputError, match=r"host.yaml:5:56.*one fixed machine"):
        parse_config("host.yaml", text.encode())
    found = parse_config("host.yaml", text.rpartition("\n")[0].encode())
    assert found.list_jumps("far") == ("near", "door")
    assert found.ssh["far"].host == "{host}"


ACCOUNT = "aws: {a: {region: eu-central-1, s3: {buckets: [m2-backups]%s}}%s}"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (ACCOUNT % (", endpoint: 'http://storage.example.com'", ""), ":1:71", "https"),
        (ACCOUNT % (", endpoint: 'https://storage.example.com/x'", ""), ":1:71", "without a path"),
        (ACCOUNT % (", endpoint: 'https://u:p@storage.example.com'", ""), ":1:71", "https://HOST"),
        (ACCOUNT % (", endpoint: 'https://storage.example.com:70000'", ""), ":1:71", "https://HOST"),
        (ACCOUNT % ("", ", b: {region: x, s3: {buckets: [other, m2-backups]}}"), ":1:100", "another account"),
        (ACCOUNT % ("", ", b: {region: x, s3: {buckets: []}}"), ":1:", "buckets"),
        (ACCOUNT % ("", ", b: {region: x, s3: {buckets: [UPPER]}}"), ":1:", "form"),
        (ACCOUNT % ("", ", b: {region: x, credentials: keys}"), ":1:", "begin with /"),
        (ACCOUNT % ("", ", b: {s3: {buckets: [abc]}}"), ":1:", "region"),
    ],
)
def test_an_invalid_aws_account_is_refused_with_its_position(text, place, words):
    with pytest.raises(InputError) as caught:
        parse_config("host.yaml", text.encode())
    found = [f"{problem.where} {problem.message} {problem.remedy}" for problem in caught.value.problems]
    assert len(found) == 1
    assert place in str(caught.value)
    assert words in found[0]


def test_an_endpoint_on_this_machine_may_use_plain_http():
    for host in ("127.0.0.1:9000", "[::1]:9000", "localhost:1"):
        config = parse_config("host.yaml", (ACCOUNT % (f", endpoint: 'http://{host}'", "")).encode())
        assert config.aws["a"].s3.endpoint == f"http://{host}"
