"""A source behind a link that a deploy switches."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from support.git_repositories import Repository, alone, git

from reconciler.errors import SourceError
from reconciler.ports.source import Source
from reconciler.server import file_events
from reconciler.sources.detected_source import DetectedSource
from reconciler.sources.forwarding_source import ForwardingSource, WrappedSource
from reconciler.sources.linked_source import LinkedSource, list_links, make_absolute
from reconciler.sources.locate import locate_source


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Two releases, and a link to the first."""
    alone(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        folder = tmp_path / f"releases/{number}/fleet"
        folder.mkdir(parents=True)
        (folder / "fleet.yaml").write_text(f"{number}\n")
    switch(tmp_path, "releases/1")
    return tmp_path


def switch(site, target):
    (site / "new").symlink_to(target)
    (site / "new").replace(site / "current")


async def read(source):
    snapshot = await source.snapshot()
    return snapshot.revision.source, snapshot.files.read("fleet.yaml")


@pytest.mark.parametrize("text", ["current/fleet", "./releases/../current/fleet"])
async def test_each_snapshot_follows_the_link_again_under_one_name(site, text):
    source = locate_source(text, cache=site / "cache")
    assert await read(source) == (f"{site}/current/fleet", b"1\n")
    switch(site, site / "releases/2")
    assert await read(source) == (f"{site}/current/fleet", b"2\n")


async def test_a_folder_within_the_linked_one_is_part_of_the_name(site):
    source = locate_source("current", path="fleet", cache=site / "cache")
    switch(site, "releases/2")
    assert await read(source) == (f"{site}/current/fleet", b"2\n")


async def test_a_link_from_one_work_tree_to_another_is_followed(site):
    """As git-sync does it: each commit is checked out in a work tree of its own."""
    work = Repository.make(site / "clone", {"fleet.yaml": "one\n"})
    first = work.head
    second = work.commit({"fleet.yaml": "two\n"}, "Second")
    for name, commit in (("a", first), ("b", second)):
        git(work.folder, "worktree", "add", "--quiet", "--detach", str(site / name), commit)
    switch(site, "a")
    source = locate_source("current", cache=site / "cache", saved=False)
    assert await read(source) == (f"{site}/current", b"one\n")
    assert source.located().work.top == site / "a"
    switch(site, "b")
    snapshot = await source.snapshot()
    assert (snapshot.revision.source, snapshot.revision.id) == (f"{site}/current", second)
    assert first in await source.ancestors(second)
    assert (await source.read_origin(second, ("fleet.yaml",), ())).roots == (first,)
    old = await locate_source("current", ref=first, cache=site / "cache").snapshot()
    assert old.files.read("fleet.yaml") == b"one\n"


@pytest.mark.parametrize("wrapper", [LinkedSource, DetectedSource, WrappedSource])
def test_a_forwarding_source_forwards_every_call(wrapper):
    """What it does not define is the answer of a source that knows nothing, whatever the real one knows."""
    defined = {*vars(wrapper), *vars(ForwardingSource)}
    assert {name for name in vars(Source) if not name.startswith("_")} - defined == set()


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("name", ["has_history", "is_dated_by_use", "keeps_revisions"])
def test_a_wrapped_source_has_the_properties_of_its_source(name, answer):
    class Known(WrappedSource):
        has_history = is_dated_by_use = keeps_revisions = answer

    assert getattr(WrappedSource(Known(None)), name) is answer


async def test_a_dangling_link_is_reported_and_followed_again_later(site):
    source = locate_source("current", path="fleet", cache=site / "cache")
    switch(site, "releases/3")
    with pytest.raises(
        SourceError, match=rf"{site}/current points to {site}/releases/3, which is not a folder"
    ):
        await source.snapshot()
    switch(site, "current")
    with pytest.raises(SourceError, match="cannot be resolved"):
        await source.snapshot()
    switch(site, "releases/2")
    assert (await read(source))[1] == b"2\n"


def test_all_links_on_the_way_are_known(site):
    (site / "again").symlink_to(site / "current")
    (site / "releases/1/self").symlink_to("../1")
    assert list_links(make_absolute(site / "again/self/fleet")) == (
        site / "again",
        site / "current",
        site / "releases/1/self",
    )


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(file_events, "DEBOUNCE", 20)
    monkeypatch.setattr(file_events, "STEP", 5)


async def test_a_switched_link_and_a_change_behind_it_are_events(site, quick):
    source = locate_source("current", cache=site / "cache")
    assert isinstance(source, LinkedSource)
    event, stop = asyncio.Event(), asyncio.Event()
    log = SimpleNamespace(warning=lambda *words, **fields: pytest.fail(f"{words} {fields}"))

    async def expect_event(act):
        async with asyncio.timeout(10):
            while not event.is_set():  # a change before the system watches the folder is lost
                act()
                await asyncio.wait({asyncio.ensure_future(event.wait())}, timeout=0.3)
        while event.is_set():  # further events of the same change, until a debounce passes without one
            event.clear()
            await asyncio.wait({asyncio.ensure_future(event.wait())}, timeout=0.05)

    follower = asyncio.create_task(file_events.follow_source_files(source, event.set, log, stop=stop))
    await expect_event((site / "releases/1/fleet/x").touch)
    await expect_event(lambda: switch(site, "releases/2"))
    await expect_event((site / "releases/2/fleet/x").touch)
    stop.set()
    async with asyncio.timeout(10):
        await follower
