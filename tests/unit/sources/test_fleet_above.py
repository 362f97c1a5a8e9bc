"""A lone setting below a fleet file is not planned as a fleet of its own without saying so."""

import io
import subprocess
import tarfile

import pytest

from reconciler.desired.fleet import load_fleet
from reconciler.desired.validation import validate_files
from reconciler.drivers.registry import DRIVERS
from reconciler.host.environment import Environment
from reconciler.sources.locate import locate_source

SETTING = """{"meta": {"version": "v1"}, "env": {"management": {"api": {"port": 10040,
 "allowList": [{"role": "admin", "addr": "127.0.0.0/8"}]},
 "cluster": {"discover": {"members": ["192.0.2.1"]}}}}, "hosting": []}
"""


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    (folder / "sites/edge").mkdir(parents=True)
    (folder / "sites/fleet.yml").write_text("clusters: []\n")
    (folder / "sites/edge/setting.json").write_text(SETTING)
    (tmp_path / "fleet.yaml").write_text("clusters: []\n")  # above the repository: another matter
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    return folder


async def read(tmp_path, source, **options):
    found = locate_source(str(source), cache=tmp_path / "cache", environment=Environment({}), **options)
    return await found.snapshot()


async def test_it_is_a_warning_from_every_kind_of_source(tmp_path, repository):
    packed = tmp_path / "fleet.tgz"
    with tarfile.open(fileobj=io.BytesIO(), mode="w:gz"), tarfile.open(packed, "w:gz") as archive:
        archive.add(repository / "sites", "fleet-1/sites")
    for source, options in (
        (repository / "sites/edge", {}),
        (repository, {"path": "sites/edge"}),
        (repository, {"path": "sites/edge", "ref": "main"}),
        (f"file://{repository}", {"path": "sites/edge"}),
        (packed, {"path": "sites/edge"}),
    ):
        snapshot = await read(tmp_path, source, **options)
        assert snapshot.above == "../fleet.yml", source
        assert "inside-fleet" in [one.code for one in load_fleet(snapshot, DRIVERS).warnings], source
        assert "inside-fleet" in [one.code for one in validate_files(snapshot, DRIVERS).problems], source


async def test_two_folders_above_and_outside_of_git(tmp_path, repository):
    (repository / "sites/fleet.yml").unlink()
    assert (await read(tmp_path, repository / "sites/edge")).above == ""
    folder = tmp_path / "plain/edge"
    folder.mkdir(parents=True)
    (folder / "setting.json").write_text(SETTING)
    assert (await read(tmp_path, folder)).above == "../../fleet.yaml"


async def test_a_lone_setting_that_is_wrong_is_told_with_it(tmp_path, repository):
    edge = repository / "sites/edge/setting.json"
    edge.write_text(SETTING.replace('["192.0.2.1"]', "null"))
    found = validate_files(await read(tmp_path, edge.parent), DRIVERS)
    assert {"no-nodes", "inside-fleet"} <= {one.code for one in found.problems}
