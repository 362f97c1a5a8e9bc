"""Patterns of resources: what they mean and what they leave alone."""

import pytest

from reconciler.desired.glob import is_pattern, match_names

NAMES = [
    ".git/config",
    "certs/.hidden.pem",
    "certs/a.pem",
    "certs/b.crt",
    "certs/old/c.pem",
    "fleet.yaml",
    "top.pem",
]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("certs/*.pem", ["certs/a.pem"]),
        ("./certs//*.pem", ["certs/a.pem"]),
        ("certs/*", ["certs/a.pem", "certs/b.crt"]),
        ("certs/?.[cp]*", ["certs/a.pem", "certs/b.crt"]),
        ("certs/[!a].*", ["certs/b.crt"]),
        ("*.pem", ["top.pem"]),
        ("**/*.pem", ["certs/a.pem", "certs/old/c.pem", "top.pem"]),
        ("certs/**", ["certs/a.pem", "certs/b.crt", "certs/old/c.pem"]),
        ("**/old/**/c.pem", ["certs/old/c.pem"]),
        ("certs/.*.pem", ["certs/.hidden.pem"]),
        (".git/**", [".git/config"]),
        ("**/config", []),
        ("CERTS/*.pem", []),
        ("certs/*/", ["certs/a.pem", "certs/b.crt"]),
    ],
)
def test_what_a_pattern_means(pattern, expected):
    assert match_names(pattern, NAMES) == expected


def test_many_stars_against_a_deep_path_are_fast():
    assert match_names("/".join(["**", "a"] * 40), ["/".join("a" * 200)]) == ["/".join("a" * 200)]
    assert match_names("/".join(["**", "a"] * 40 + ["b"]), ["/".join("a" * 200)]) == []


def test_only_wild_characters_make_a_pattern():
    assert [is_pattern(text) for text in ("a/b.pem", "a/*.pem", "a?.pem", "[ab].pem")] == [
        False,
        True,
        True,
        True,
    ]
