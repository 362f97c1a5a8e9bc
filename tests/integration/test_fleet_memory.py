"""Which fleet's memory a real source goes on with: work trees, clones, URLs, folders, shallow clones."""

import asyncio
import json
from pathlib import Path

import pytest
from support.git_repositories import Repository, git

from reconciler.api.reader import Reader
from reconciler.cli.main import main
from reconciler.core.fleet_matching import NEW
from reconciler.errors import FleetRefused
from reconciler.sources.locate import locate_source
from reconciler.store.factory import open_store

ROOT = Path(__file__).parents[2]


def fleet_file(**top):
    clusters = [{"name": "edge", "kind": "sora", "nodes": [{"name": "a@n", "api": "http://127.0.0.1:9/"}]}]
    return json.dumps({**top, "clusters": clusters})


class Site:
    """A host with a store, and a repository."""

    def __init__(self, folder):
        self.folder = folder
        self.state = folder / "state"
        self.repository = Repository.make(folder / "fleet", {"fleet.json": fleet_file()})

    def commit(self, file="fleet.json", **top):
        return self.repository.commit({file: fleet_file(**top)})

    async def number(self, source, *, enter=True, **options):
        """The number of the memory that a source goes on with; it is written down where it is entered."""
        found = locate_source(str(source), cache=self.folder / "cache", **options)
        with open_store(self.state) as store:
            reader = Reader(found, store, is_applying=True)
            identity, bound = await reader.bind(await reader.read_fleet())
            memory = await (await store.enter_fleet(identity) if enter else bound).read_memory()
        return memory.fleet

    def number_now(self, source, **more):
        """The same, where no loop runs."""
        return asyncio.run(self.number(source, **more))


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


async def test_every_way_to_one_history_leads_to_one_memory(site):
    first = await site.number(site.repository.folder)
    bare = site.repository.bare(site.folder / "bare.git")
    git(site.folder, "clone", "--quiet", str(bare), "clone")
    ways = {
        "a ref of the work tree": (site.repository.folder, {"ref": "main"}),
        "a URL": (f"file://{site.repository.folder}", {}),
        "the git folder": (site.repository.folder / ".git", {}),
        "a bare clone": (bare, {}),
        "a clone": (site.folder / "clone", {}),
    }
    found = {name: await site.number(source, enter=False, **more) for name, (source, more) in ways.items()}
    assert found == dict.fromkeys(ways, first)
    site.repository.write({"fleet.json": fleet_file(management=["192.0.2.7"])})
    assert await site.number(site.repository.folder, enter=False) == first


async def test_another_repository_and_a_copy_without_history_are_fleets_of_their_own(site):
    await site.number(site.repository.folder)
    other = Repository.make(site.folder / "other", {"fleet.json": fleet_file(management=["192.0.2.7"])})
    assert await site.number(other.folder, enter=False) == NEW
    copy = site.folder / "copy"
    copy.mkdir()
    (copy / "fleet.json").write_text(fleet_file())
    assert await site.number(copy, enter=False) == NEW


async def test_a_shallow_clone_is_known_by_its_address_alone(site):
    site.commit(management=["192.0.2.7"])
    await site.number(site.repository.folder)
    git(site.folder, "clone", "--quiet", "--depth=1", f"file://{site.repository.folder}", "shallow")
    assert await site.number(site.folder / "shallow", enter=False) == NEW


async def test_a_fleet_file_that_moves_keeps_its_memory_and_a_second_one_is_refused(site):
    first = await site.number(site.repository.folder)
    site.commit("live/fleet.json")
    with pytest.raises(FleetRefused, match="two fleet files"):
        await site.number(site.repository.folder / "live", enter=False)
    git(site.repository.folder, "rm", "--quiet", "fleet.json")
    site.repository.commit({})
    assert await site.number(site.repository.folder, path="live") == first


async def test_two_fleet_files_of_one_repository_are_two_fleets_once_both_have_a_name(site):
    first = await site.number(site.repository.folder)
    site.commit("live/fleet.json", name="live")
    with pytest.raises(FleetRefused, match="has no name"):
        await site.number(site.repository.folder / "live", enter=False)
    site.commit(name="lab")
    assert await site.number(site.repository.folder / "live") != first
    assert await site.number(site.repository.folder) == first


async def test_lone_settings_files_of_a_repository_are_told_apart_by_their_folders(site):
    setting = (ROOT / "examples/lone/setting.json").read_text()
    git(site.repository.folder, "rm", "--quiet", "fleet.json")
    site.repository.commit({"lone/setting.json": setting, "live/fleet.json": fleet_file(name="live")})
    first = await site.number(site.repository.folder / "lone")
    assert await site.number(site.repository.folder / "live") != first
    site.repository.commit({"second/setting.json": setting})
    with pytest.raises(FleetRefused, match="two settings files"):
        await site.number(site.repository.folder / "second", enter=False)
    assert await site.number(site.repository.folder / "lone") == first
    git(site.repository.folder, "rm", "--quiet", "lone/setting.json")
    site.repository.commit({})
    assert await site.number(site.repository.folder, path="second") == first


async def test_a_commit_cannot_shed_the_past_by_another_name(site):
    site.commit(name="edge")
    first = await site.number(site.repository.folder)
    for top in ({"name": "core"}, {}):
        site.commit(**top)
        with pytest.raises(FleetRefused, match="edge"):
            await site.number(site.repository.folder, enter=False)
    site.commit(name="core", renamed_from="edge")
    assert await site.number(site.repository.folder) == first
    site.commit(name="core")
    assert await site.number(site.repository.folder) == first


def test_the_same_name_on_another_history_is_taken_up_once_the_host_has_confirmed_it(site, capsys):
    site.commit(name="edge")
    first = site.number_now(site.repository.folder)
    new = Repository.make(site.folder / "new", {"fleet.json": fleet_file(name="edge"), "README": "anew"})
    with pytest.raises(FleetRefused) as refused:
        site.number_now(new.folder, enter=False)
    assert f"`reconcile state rebind edge --source {new.folder}`" in refused.value.remedy
    state = ("--state", str(site.state))
    assert main(["state", "rebind", "edge", "--source", str(new.folder), *state]) == 0
    assert site.number_now(new.folder, enter=False) == first
    assert main(["state", "fleets", *state]) == 0
    assert str(new.folder) in capsys.readouterr().out
    assert main(["state", "rebind", "egde", "--source", str(new.folder), *state]) == 1
    assert "did you mean edge" in capsys.readouterr().err
    other = Repository.make(site.folder / "nameless", {"fleet.json": fleet_file(), "README": "other"})
    assert main(["state", "rebind", "edge", "--source", str(other.folder), *state]) == 1
    assert "has no name" in capsys.readouterr().err


def test_a_folder_takes_up_a_named_fleet_only_where_the_host_has_confirmed_it(site):
    site.commit(name="edge")
    first = site.number_now(site.repository.folder)
    copy = site.folder / "copy"
    copy.mkdir()
    (copy / "fleet.json").write_text(fleet_file(name="edge"))
    with pytest.raises(FleetRefused, match="no git history"):
        site.number_now(copy, enter=False)
    assert main(["state", "rebind", "edge", "--source", str(copy), "--state", str(site.state)]) == 0
    assert site.number_now(copy) == first
    assert site.number_now(site.repository.folder) == first
