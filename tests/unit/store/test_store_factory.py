"""Which store a URL names; reading creates none."""

from pathlib import Path

import pytest

from reconciler.core.plan import Plan, Revision
from reconciler.errors import UsageError
from reconciler.ports.store import OpenOrders, RunStart
from reconciler.store.factory import has_store, open_reader, open_store

PLAN = Plan(Revision("/repo", "a", "a"), "0.1.0", ())


def forms(folder: Path):
    return [folder, str(folder), f"sqlite://{folder}", f"sqlite://{folder}/"]


async def test_a_folder_and_its_url_are_one_store(tmp_path):
    folder = tmp_path / "a b"
    with open_store(f"sqlite://{tmp_path}/a%20b") as store:
        run = await store.begin_run(RunStart("command", PLAN))
    for url in forms(folder):
        assert has_store(url)
        with open_reader(url) as reader:
            assert [line.id for line in await reader.runs()] == [run]


async def test_reading_makes_nothing_and_finds_nothing_where_nothing_is(tmp_path):
    for url in forms(tmp_path / "state"):
        assert not has_store(url)
        with open_reader(url) as reader:
            memory = await reader.read_memory()
            assert (memory.facts, memory.cluster_memory) == ({}, {})
            assert (await reader.orders(), await reader.runs(), await reader.list_open_runs()) == (
                OpenOrders(),
                (),
                (),
            )
            assert not await reader.is_open("edge")
            with pytest.raises(UsageError, match="has no history"):
                await reader.run("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ask", [open_store, open_reader, has_store])
def test_a_kind_that_is_not_known_is_refused_without_what_may_be_secret(ask):
    with pytest.raises(UsageError, match="unknown type of store: mysql://…") as caught:
        ask("mysql://user:hunter2@db.example.com/reconciler")
    assert "sqlite:///FOLDER" in caught.value.remedy


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://host/state"])
def test_a_url_without_a_folder_of_this_host_is_refused(url):
    with pytest.raises(UsageError, match="does not contain a folder of this host"):
        open_store(url)
