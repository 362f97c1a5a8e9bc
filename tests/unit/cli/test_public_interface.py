"""A public name stays until a version has deprecated it: docs/releases.md; `--update-golden` adds names."""

import re

import pytest
from support.public_names import ROOT, list_public_names

LIST = ROOT / "tests/cases/public-interface.txt"
RELEASES = ROOT / "docs/releases.md"
CHANGELOG = ROOT / "CHANGELOG.md"


def read_removed(page: str) -> set[str]:
    """Names of the table of removed names, which an earlier version than that of the removal deprecated."""
    table = page[page.index("## Removed names") :]
    rows = re.findall(r"^\| `([^`]+)` \| (\d+)\.(\d+) \| (\d+)\.(\d+) \|", table, re.MULTILINE)
    return {name for name, *v in rows if (int(v[0]), int(v[1])) < (int(v[2]), int(v[3]))}


def find_lost(listed: set[str], names: set[str], page: str) -> set[str]:
    """Names that are gone, although nobody was told."""
    return listed - names - read_removed(page)


def find_unlisted(listed: set[str], names: set[str], changelog: str) -> set[str]:
    """New names of a version that is released; those of the next version may still change."""
    newest = re.search(r"^## (\S+) — (.+)$", changelog, re.MULTILINE)
    return set() if newest and newest[2] == "unreleased" else names - listed


@pytest.fixture(scope="module")
def names():
    return list_public_names()


@pytest.fixture
def listed(names, request):
    if request.config.getoption("--update-golden"):
        known = set(LIST.read_text(encoding="utf-8").splitlines()) if LIST.exists() else set()
        LIST.write_text("".join(f"{name}\n" for name in sorted(known | names)), encoding="utf-8")
    return set(LIST.read_text(encoding="utf-8").splitlines())


def test_no_public_name_is_lost(names, listed):
    lost = find_lost(listed, names, RELEASES.read_text(encoding="utf-8"))
    assert sorted(lost) == [], "keep them, or take the way of docs/releases.md, Deprecation"


def test_a_release_lists_all_its_names(names, listed):
    assert find_unlisted(listed, names, CHANGELOG.read_text(encoding="utf-8")) == set(), (
        "pytest --update-golden"
    )


def test_the_list_has_names_of_every_kind(listed):
    kinds = {
        "command reconcile status: --format json",
        "command reconcile tokens create: NAME",
        "exit status 3 REFUSED",
        "variable RECONCILE_STATE",
        "fleet /clusters/[sora]/nodes/[]/api",
        "setting /hosting/[]/mode may be left out",
        "host /access/oidc/issuer",
        "plan /plan/clusters/[]/steps/[]/id is always there",
        "metric reconciler_nodes observation",
        "API GET /api/v1/clusters",
        "python Reader.plan only",
    }
    assert kinds <= listed


PAGE = "## Removed names\n\n| name | deprecated in | removed in |\n| --- | --- | --- |\n"


def test_what_goes_without_a_word_is_found():
    assert find_lost({"a", "b"}, {"b", "c"}, PAGE) == {"a"}


def test_what_goes_with_the_version_that_deprecates_it_is_found():
    assert find_lost({"a"}, set(), f"{PAGE}| `a` | 1.2 | 1.2 |") == {"a"}


def test_what_was_deprecated_before_may_go():
    assert find_lost({"a"}, set(), f"{PAGE}| `a` | 1.2 | 2.0 |") == set()


@pytest.mark.parametrize(("date", "found"), [("unreleased", set()), ("2027-01-02", {"c"})])
def test_new_names_are_listed_at_the_release(date, found):
    assert find_unlisted({"a"}, {"a", "c"}, f"# Changelog\n\n## 1.0.0 — {date}\n") == found
