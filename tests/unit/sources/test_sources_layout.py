"""Paths and links of a revision, against what the file system itself would do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import SourceError
from reconciler.sources.layout import Layout, clean_path


def test_clean():
    assert clean_path("./a//b/.") == "a/b"
    assert clean_path("") == ""
    assert clean_path("a/../b") is None
    assert clean_path("/a") is None


def layout(files="", links=None, **rest):
    return Layout("here", dict.fromkeys(files.split(), ""), links or {}, **rest)


def test_links_between_folders():
    found = layout("releases/1/a releases/1/b/c", {"current": "releases/1", "d": "current/b"})

    assert found.find("current/b/c") == "releases/1/b/c"
    assert found.find("d/c") == "releases/1/b/c"
    assert found.names() == ("current/a", "current/b/c", "d/c", "releases/1/a", "releases/1/b/c")


def test_base_may_be_a_link_and_links_may_lead_out_of_it():
    found = layout("real/a shared/c", {"edge": "real", "real/c": "../shared/c"}).below("edge")

    assert found is not None
    assert found.names() == ("a", "c")
    assert found.find("c") == "shared/c"
    assert layout("a/b").below("a/b") is None
    assert layout("a/b").below("c") is None


def test_what_leads_out_is_listed_and_explained():
    found = layout("a", {"out": "../../x", "abs": "/x", "loop": "loop2", "loop2": "loop", "gone": "none"})

    assert set(found.names()) == {"a", "out", "abs", "loop", "loop2", "gone"}
    for name, words in {
        "out": "points outside",
        "abs": "points outside",
        "loop": "form a loop",
        "gone": "does not exist",
    }.items():
        with pytest.raises(SourceError, match=f"here: .*{words}"):
            found.find(name)


def test_link_to_its_own_folder_ends():
    assert layout("d/a", {"d/self": "."}).names() == ("d/a", "d/self/a")


def test_closed_places_say_why():
    found = layout("a", closed={"sub": "it is a submodule"})
    for path, inside in (("sub", ""), ("sub/x", "it is in 'sub', and ")):
        with pytest.raises(SourceError, match=f"cannot be read: {inside}it is a submodule"):
            found.find(path)


PART = st.sampled_from(["a", "b", "c"])
PATH = st.lists(PART, min_size=1, max_size=3).map("/".join)
TARGET = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=4).map("/".join)


@settings(max_examples=80, deadline=None)
@given(st.lists(PATH, max_size=4), st.dictionaries(PATH, TARGET, max_size=4), PATH)
def test_leads_where_the_file_system_leads(tmp_path_factory, files, links, wanted):
    """Whatever the kernel reads inside the folder is found at the same place; nothing outside ever is."""
    root = tmp_path_factory.mktemp("tree") / "deep" / "root"
    root.mkdir(parents=True)
    made_files, made_links = {}, {}
    for path in files:
        place = root / path
        if not any((root / parent).is_file() for parent in _parents(path)) and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(path)
            made_files[path] = path
    for path, target in links.items():
        place = root / path
        if all(
            not os.path.lexists(root / part) or _plain(root / part) for part in _parents(path)
        ) and not os.path.lexists(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target)
            made_links[path] = target

    try:
        found = Layout("here", made_files, made_links).find(wanted)
    except (FileNotFoundError, SourceError):
        found = None
    real = os.path.realpath(root / wanted)
    inside = real.startswith(f"{root}/") and Path(real).is_file()
    if found is not None:
        assert Path(real).is_file()
        assert Path(real).samefile(root / found)
    elif inside:
        assert _climbs(root, wanted), "found by the kernel without leaving the folder"


def _parents(path):
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _plain(place):
    return place.is_dir() and not place.is_symlink()


def _climbs(root, wanted):
    """Whether the way to a path leaves the root on its way, which is refused even if it comes back."""
    here, todo, hops = root, wanted.split("/")[::-1], 0
    while todo:
        part = todo.pop()
        if part == "..":
            here = here.parent
            if root not in (here, *here.parents):
                return True
        elif part != ".":
            here = here / part
            if here.is_symlink():
                hops += 1
                if hops > 40:
                    return True
                todo += str(here.readlink()).split("/")[::-1]
                here = here.parent
    return False
