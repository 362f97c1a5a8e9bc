"""The example of nodes from an inventory, by the commands of an operator, with the faults of a cloud."""

import json
import urllib.request

import pytest
from support.cloud_servers import CUT, Vm
from support.cloud_sites import TAG, CloudSite, number

from reconciler.cli.main import main
from reconciler.inventory import resolver


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with CloudSite(tmp_path) as site:
        yield site


def dry_run(site, capsys, *words, **more):
    capsys.readouterr()
    status = site.command("--dry-run", *words, **more)
    return status, capsys.readouterr().out


def plan(site, capsys, **more):
    status, out = dry_run(site, capsys, "--format", "json", **more)
    return status, json.loads(out)


def codes(found):
    return [one["code"] for one in found["violations"]]


def apply(site):
    assert site.command("--yes") == 0


def test_the_whole_way_of_an_operator(site, capsys):
    status, text = dry_run(site, capsys)
    assert "inventory: edge: 4 instances of aws:vm:tag=m2-edge of prod, read 0 s ago" in text
    assert f"{number(1)} … {number(4)} (4 nodes)" in text
    assert "aws:vm:tag=m2-origin means 127.0.0.99:8080 (prod, 0 s ago)" in text
    assert status == 0
    assert not (site.folder / "state").exists()
    apply(site)
    assert site.command("--dry-run", "--detailed-exitcode") == 0
    _, found = plan(site, capsys)
    (use,) = found["inventory"]
    assert use["instances"] == {number(index): f"127.0.0.{10 + index}" for index in range(1, 5)}
    assert (use["account"], use["failure"]) == ("prod", "")
    assert 0 <= use["age"] < 60
    _, markdown = dry_run(site, capsys, "--format", "markdown")
    assert "inventory: edge: 4 instances of aws:vm:tag=m2-edge of prod, read" in markdown
    # The nodes keep the expression, and resolve it themselves.
    with urllib.request.urlopen(f"http://127.0.0.11:{site.port}/setting/setting.json", timeout=5) as answer:
        assert "#aws:vm:tag=m2-origin#:8080" in answer.read().decode()


def test_status_and_render_say_where_a_node_comes_from(site, capsys):
    apply(site)
    capsys.readouterr()
    options = ["--host-config", str(site.host), str(site.fleet)]
    assert main(["status", "--state", str(site.folder / "state"), *options]) == 0
    shown = capsys.readouterr().out
    assert "inventory: 4 instances of aws:vm:tag=m2-edge of prod, read" in shown
    assert main(["render", "--node", number(1), "--explain", *options]) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert head.startswith(f"# {number(1)}: instance of aws:vm:tag=m2-edge in the account prod at 127.0.0.11")
    assert main(["validate", str(site.fleet)]) == 0


@pytest.mark.parametrize("fault", [503, 401, CUT, b"", b"<DescribeInstancesResponse/>", "empty", 3.0])
def test_whatever_goes_wrong_there_are_nodes_or_nothing_is_sent(site, capsys, fault, monkeypatch):
    monkeypatch.setattr(resolver, "LIMIT", 1.0)  # an answer that is late is none
    apply(site)
    site.replace("setting.json", '"version": "1"', '"version": "2"')
    vms = site.cloud.vms
    site.cloud.vms, site.cloud.faults = ([], []) if fault == "empty" else (vms, [fault] * 4)
    _, found = plan(site, capsys)
    (use,) = found["inventory"]
    assert len(use["instances"]) == 4
    assert use["failure"]
    assert "inventory-stale" in {one["code"] for one in found["warnings"]}
    # Where nothing was read before, there is no list.
    site.cloud.faults = [] if fault == "empty" else [fault] * 4
    before = len(site.nodes.calls())
    status, found = plan(site, capsys, state="other")
    assert (status, codes(found)) == (3, ["inventory-unread"])
    assert site.command("--yes", state="other") == 3
    assert len(site.nodes.calls()) == before


def test_a_shrink_and_a_moved_instance_are_refused_before_anything_is_sent(site, capsys):
    apply(site)
    site.replace("setting.json", '"version": "1"', '"version": "2"')
    before = len(site.nodes.calls(changes=True))
    every = site.cloud.vms
    site.cloud.vms = [every[0], every[-1]]
    status, found = plan(site, capsys)
    assert (status, codes(found)) == (3, ["desired-shrank"])
    assert site.command("--yes") == 3
    # An instance that is still there has another's address.
    site.cloud.vms = [site.vm(1, "127.0.0.12"), site.vm(2, "127.0.0.11"), *every[2:]]
    status, found = plan(site, capsys)
    assert "address-reassigned" in codes(found)
    assert site.command("--yes") == 3
    assert len(site.nodes.calls(changes=True)) == before
    # One outside the networks of the host is named, and does not count.
    site.cloud.vms = [*every, Vm(number(9), "10.99.0.1", {TAG: "x"})]
    _, found = plan(site, capsys)
    assert "instance-outside" in {one["code"] for one in found["warnings"]}
    assert number(9) not in json.dumps(found["plan"])


def test_a_plan_file_is_refused_once_an_instance_moved(site, capsys):
    file = site.folder / "plan.json"
    assert site.command("--dry-run", "--only", number(1), "--out", str(file)) == 0
    assert json.loads(file.read_text())["inventory"]["edge"][number(1)] == "127.0.0.11"
    options = ["--yes", "--host-config", str(site.host), "--state", str(site.folder / "state")]
    first = site.cloud.vms[0]
    site.cloud.vms[0] = Vm(first.id, "127.0.0.77", first.tags)
    capsys.readouterr()
    assert main(["apply", *options, str(file), str(site.fleet)]) == 4
    assert "had the address 127.0.0.11 and has 127.0.0.77" in capsys.readouterr().err
    site.cloud.vms[0] = first
    assert main(["apply", *options, str(file), str(site.fleet)]) == 0


def test_a_pull_request_without_a_host_configuration_is_told_so(site, capsys):
    status, found = plan(site, capsys, host=False)
    assert status == 0
    assert codes(found) == []
    (told,) = [one for one in found["warnings"] if one["code"] == "inventory-unread"]
    assert "the host configuration has no account `prod` in `aws`" in told["message"]
    assert not site.cloud.requests
    # With the host configuration, but without its keys, the last list counts.
    apply(site)
    (site.folder / "credentials").write_text("[default]\n")
    _, found = plan(site, capsys)
    (use,) = found["inventory"]
    assert "has no aws_access_key_id" in use["failure"]
    assert len(use["instances"]) == 4


def test_what_needs_all_nodes_does_nothing_where_they_are_not_known(site, capsys):
    site.cloud.vms = []
    state = ["--state", str(site.folder / "state")]
    options = ["--host-config", str(site.host), str(site.fleet)]
    assert main(["status", *state, *options]) == 1
    assert "its nodes are not known" in capsys.readouterr().out
    source = ["--host-config", str(site.host), "--source", str(site.fleet)]
    assert main(["purge", "www.example.com/x", "--yes", *state, *source]) != 0
    assert "a purge needs to know all nodes. edge: its nodes are not known" in capsys.readouterr().err
    assert main(["import", str(site.fleet), "--dry-run"]) != 0
    assert "edge: its nodes come from an inventory" in capsys.readouterr().err
    assert main(["simulate", str(site.fleet)]) != 0
    assert "nothing to simulate" in capsys.readouterr().err


def test_pages_out_of_order_and_instances_that_come_twice_change_nothing(site, capsys):
    apply(site)
    _, found = plan(site, capsys)
    site.cloud.vms.reverse()
    site.cloud.vms.append(site.cloud.vms[1])
    site.cloud.page = 1
    _, again = plan(site, capsys)
    assert again["plan"] == found["plan"]
    assert again["inventory"][0]["instances"] == found["inventory"][0]["instances"]
