"""The section `access` of the host's file: what it may say, and where it says something else."""

import pytest

from reconciler.cli.host_loader import parse_config
from reconciler.errors import InputError
from reconciler.host.config_database import digest_plan_rules

WHOLE = """
access:
  oidc:
    issuer: https://login.example.com/realms/ops
    client: reconciler
    secret: /etc/reconciler/oidc-secret
    redirect: https://fleet.example.com
  proxy: {header: X-Remote-User, networks: [192.0.2.10/32]}
  roles:
    - {role: operate, clusters: ["web-*"], groups: [fleet-operators]}
    - {role: approve, users: [kim@example.com], login: [oidc, local]}
"""
OIDC = "issuer: 'https://a', client: a, secret: /a, redirect: 'https://a'"


def test_a_whole_section_is_read():
    found = parse_config("host.yaml", WHOLE.encode()).access
    assert found.tokens
    assert found.oidc is not None
    assert (found.oidc.name, found.oidc.groups) == ("email", "groups")
    assert found.proxy is not None
    assert found.proxy.header == "x-remote-user"
    assert [(one.role, one.clusters, one.login) for one in found.roles] == [
        ("operate", ("web-*",), ("oidc", "proxy")),
        ("approve", ("*",), ("oidc", "local")),
    ]


def test_without_it_nobody_but_users_of_this_machine_and_tokens_may_do_anything():
    found = parse_config("host.yaml", b"").access
    assert (found.oidc, found.proxy, found.roles) == (None, None, ())


def test_no_plan_depends_on_it():
    whole = parse_config("host.yaml", WHOLE.encode())
    assert digest_plan_rules(whole) == digest_plan_rules(parse_config("host.yaml", b""))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tokens: 1", "`true` or `false`"),
        ("other: 1", "other"),
        (f"oidc: {{{OIDC}, more: 1}}", "more"),
        ("oidc: {issuer: 'https://a'}", "is missing"),
        (f"oidc: {{{OIDC}}}".replace("https://a", "http://login.example.com", 1), "must use https"),
        (f"oidc: {{{OIDC}}}".replace("https://a", "https://a?x", 1), "without query"),
        (f"oidc: {{{OIDC}}}".replace("https://a", "https://user:word@a", 1), "without query"),
        (f"oidc: {{{OIDC}}}".replace("https://a", "https://a:99999", 1), "without query"),
        (f"oidc: {{{OIDC}, scopes: [email]}}", "must have `openid`"),
        (f"oidc: {{{OIDC.replace('/a,', 'a,')}}}", "must begin with /"),
        ("oidc: {issuer: 'https://a', client: a, secret: /a, redirect: 'https://a/b'}", "without a path"),
        ("oidc: {issuer: 'https://a', client: a, secret: /a, redirect: 'http://a.example'}", "https"),
        ("proxy: {header: X-Remote-User, networks: []}", "at least 1"),
        ("proxy: {header: X-Remote-User}", "is missing"),
        ("proxy: {header: Cookie, networks: [192.0.2.10]}", "another meaning"),
        ("proxy: {header: AUTHORIZATION, networks: [192.0.2.10]}", "another meaning"),
        ("proxy: {header: 'X User', networks: [192.0.2.10]}", "form"),
        ("roles: [{role: admin, users: [a]}]", "look"),
        ("roles: [{role: look}]", "nobody has this role"),
        ("roles: [{role: look, users: [a], clusters: []}]", "at least 1"),
        ("roles: [{role: look, users: [a], clusters: ['']}]", "form"),
        ("roles: [{role: look, users: ['a\\nb']}]".replace("'", '"'), "form"),
        ("roles: [{role: look, groups: [a], login: [proxy]}]", "no groups"),
        ("roles: [{role: look, users: [a], login: [token]}]", "oidc"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, words):
    with pytest.raises(InputError) as caught:
        parse_config("host.yaml", f"access:\n  {text}\n".encode())
    assert "host.yaml:2:" in str(caught.value)
    assert words in str(caught.value)
