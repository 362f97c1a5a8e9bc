"""Each example is valid, and a change under review is planned as its expected plan says."""

import re
import shutil

import pytest

from reconciler.cli.demo_fixtures import DemoNodes, find_examples
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses

REVISION = re.compile(r"\b[0-9a-f]{12}\b")
LOOPBACK = re.compile(r"127\.0\.0\.1:1[03]\d{3}")

CHANGES = {
    "demo": ("edge/setting.json", '"mode": "rr"', '"mode": "hash"', ()),
    "medium": ("edge/base.json", '"timeout": 5', '"timeout": 9', ["node-05@sora-05.seoul.example.com"]),
    "realistic": ("edge/base.json", '"workerCount": 2', '"workerCount": 8', ()),
}
"""Example -> file, committed text, what the nodes have in its place, and the nodes left out."""


@pytest.fixture
def changed(request, tmp_path, monkeypatch):
    """A copy of an example on free ports, whose simulated nodes are one change behind."""
    monkeypatch.setenv("RECONCILE_SECRET_ARCHIVE_KEY_ID", "id")
    monkeypatch.setenv("RECONCILE_SECRET_ARCHIVE_KEY", "an archive's key")
    monkeypatch.setenv("COLUMNS", "80")  # else lines break where the terminal that runs the tests ends
    folder = tmp_path / request.param
    shutil.copytree(find_examples() / request.param, folder)
    fleet = folder / "fleet.yaml"
    places = iter(find_free_addresses(len(LOOPBACK.findall(fleet.read_text()))))
    fleet.write_text(LOOPBACK.sub(lambda _: str(next(places)), fleet.read_text()))
    name, committed, theirs, left_out = CHANGES[request.param]
    text = (folder / name).read_text()
    assert committed in text
    (folder / name).write_text(text.replace(committed, theirs))
    with DemoNodes() as nodes:
        nodes.serve(folder, converged=True, fresh=left_out)
        (folder / name).write_text(text)
        yield folder


@pytest.mark.parametrize("changed", CHANGES, indirect=True)
def test_a_change_is_planned_as_expected(changed, capsys, golden):
    main(["--dry-run", "--state", str(changed.parent / "state"), str(changed)])
    heading, _, plan = capsys.readouterr().out.partition("\n\n")
    assert str(changed) in heading.replace("\n  ", "")
    golden(f"examples/{changed.name}.txt", REVISION.sub("REVISION", plan))
