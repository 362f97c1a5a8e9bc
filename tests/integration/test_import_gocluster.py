"""`reconcile import` of Go clusters by the entry point: a template of the nodes' own files."""

import json
import re

import pytest
import yaml

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses

SECRETS = {
    "RECONCILE_SECRET_SCORES_SECRET": "shared-by-all",
    "RECONCILE_SECRET_SCORES_API_TOKEN_SIGNING_KEY": "sign!",
}

JSON_FILE = """\
{{
  "name": "{name}",
  "listen": "{addr}",
  "authKey": "shared-by-all",
  "tls": true,
  "api": {{"enabled": true, "signingKey": "sign!"}},
  "peers": {peers},
  "settings": {{"ping_interval": 6000000000, "join_delay": 500000000}},
  "log": "/var/log/{name}/app.log",
  "braces": "{{{{x}}}}",
  "workers": {workers}
}}
"""
YAML_FILE = """\
# by hand
name: {name}
listen: 0.0.0.0:{port}
authKey: shared-by-all
signing_key: 'sign!'
peers: {peers}
PingInterval: 6s
token_duration: 1h
zone: zone-{number}
workers: {workers}
"""


class Site:
    """Three nodes whose APIs are simulated, and whose files are on this machine."""

    def __init__(self, folder, form):
        self.folder, self.fleet, self.form = folder, folder / "fleet", form
        self.places = [str(place) for place in find_free_addresses(3)]
        self.names = [f"node-{number}" for number in (1, 2, 3)]
        self.addrs = {name: f"10.20.0.{number}:9654" for number, name in enumerate(self.names, 1)}
        self.host = folder / "host.yaml"
        self.write_host({"app-config": "app.conf"})
        nodes = "".join(
            f'      - {{name: {name}, addr: "{self.addrs[name]}", api: "http://{place}"}}\n'
            for name, place in zip(self.names, self.places, strict=True)
        )
        served = folder / "served"
        served.mkdir()
        (served / "fleet.yaml").write_text(
            "clusters:\n  - name: scores\n    kind: gocluster\n    observe: true\n"
            f"    config: {{template: t.tmpl, file: app-config}}\n    nodes:\n{nodes}"
        )
        (served / "t.tmpl").write_text("{{peers}} {{node.addr}} {{tls}}\n")
        for name in self.names:
            self.write(name)

    def write_host(self, files):
        entries = {
            entry: {"path": str(self.folder / "machines" / "{node}" / name)} for entry, name in files.items()
        }
        self.host.write_text(json.dumps({"files": entries}))

    def path(self, name):
        return self.folder / "machines" / name / "app.conf"

    def write(self, name, workers=4):
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        peers = [{"name": one, "addr": addr} for one, addr in self.addrs.items() if one != name]
        number = name[-1]
        text = self.form.format(
            name=name,
            addr=self.addrs[name],
            peers=json.dumps(peers),
            port=9654,
            workers=workers,
            number=number,
        )
        self.path(name).write_text(text)

    def change(self, old, new, *, names=None):
        for name in names or self.names:
            text = self.path(name).read_text()
            assert old in text
            self.path(name).write_text(text.replace(old, new))

    def run(self, *arguments):
        return main([*arguments, "--host-config", str(self.host), str(self.fleet)])

    def import_new(self, *arguments, name="scores", numbers=(0, 1, 2), more=""):
        urls = ",".join(f"http://{self.places[number]}" for number in numbers)
        return self.run("import", "--gocluster", f"{name}={urls}{more}", "--yes", *arguments)

    def plan(self):
        return self.run("--dry-run", "--detailed-exitcode", "--state", str(self.folder / "state"))

    def read(self):
        return {
            str(path.relative_to(self.fleet)): path.read_text()
            for path in self.fleet.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def make(tmp_path, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with DemoNodes() as nodes:

        def build(form=JSON_FILE, down=()):
            made = Site(tmp_path, form)
            made.simulation = nodes.serve(tmp_path / "served", converged=True, fresh=down)
            return made

        yield build


@pytest.fixture
def site(make):
    return make()


def squeeze(capsys):
    out = capsys.readouterr()
    return " ".join((out.out + out.err).split())


@pytest.mark.parametrize("form", [JSON_FILE, YAML_FILE], ids=["JSON", "YAML"])
def test_a_new_folder_gets_a_template_with_references_and_its_plan_is_empty(make, capsys, form):
    site = make(form)
    assert site.import_new() == 0
    output, files = squeeze(capsys), site.read()
    own = ["scores/node-2.json", "scores/node-3.json"] if form is YAML_FILE else []
    assert sorted(files) == ["fleet.yaml", "scores/config.tmpl", *own, "scores/values.json"]
    template = files["scores/config.tmpl"]
    assert "{{peers}}" in template
    assert all(secret not in output + "".join(files.values()) for secret in SECRETS.values())
    assert all(name in output for name in SECRETS)
    assert all(name not in template for name in site.names)
    entry = yaml.safe_load(files["fleet.yaml"])["clusters"][0]
    assert entry["settings"]["ping_interval"] == "6s"
    assert [node["addr"] for node in entry["nodes"]] == list(site.addrs.values())
    assert "observe" not in entry
    assert site.plan() == 0, squeeze(capsys)
    assert site.simulation.calls(changes=True) == ()
    assert set(site.simulation.world("scores").locks.values()) == {1}, "each node is read once"


def test_what_differs_on_one_node_is_its_own_value(site, capsys):
    site.write("node-2", workers=7)
    assert site.import_new() == 0
    files = site.read()
    assert json.loads(files["scores/node-2.json"]) == {"workers": 7}
    assert json.loads(files["scores/values.json"])["workers"] == 4
    assert site.plan() == 0, squeeze(capsys)


def test_the_api_of_one_node_is_enough_if_the_files_show_where_it_listens(site, capsys):
    assert site.import_new(numbers=[1]) == 0
    (entry,) = yaml.safe_load(site.read()["fleet.yaml"])["clusters"]
    assert [node["addr"] for node in entry["nodes"]] == list(site.addrs.values())
    assert ["api" in node for node in entry["nodes"]] == [False, True, False]
    assert site.plan() == 0, squeeze(capsys)


def test_a_node_that_is_down_is_imported_by_its_name(make, capsys):
    site = make(down=["node-3"])
    assert site.import_new() != 0
    assert f"NAME@http://{site.places[2]}" in squeeze(capsys)
    more = f",node-3@http://{site.places[2]}"
    assert site.import_new(numbers=[0, 1], more=more) == 0
    assert site.plan() == 0, squeeze(capsys)


def test_it_joins_a_fleet_with_other_clusters(site, capsys):
    site.fleet.mkdir()
    first = "# ours\nclusters:\n  - name: other  # kept\n    kind: gocluster\n"
    first += "    config: {template: other.tmpl, file: other-config}\n"
    first += '    nodes: [{name: o1, addr: "10.9.0.1:9654"}]\n'
    (site.fleet / "fleet.yaml").write_text(first)
    (site.fleet / "other.tmpl").write_text("{{node.name}}")
    (site.folder / "machines" / "o1").mkdir()
    (site.folder / "machines" / "o1" / "other.conf").write_text('"o1"')
    site.write_host({"app-config": "app.conf", "other-config": "other.conf"})
    assert site.import_new() != 0
    assert "file=ENTRY" in squeeze(capsys)
    assert site.import_new(more=",file=app-config") == 0
    assert site.read()["fleet.yaml"].startswith("# ours\nclusters:\n  - name: other  # kept\n")
    assert site.plan() == 0, squeeze(capsys)
    site.write_host({"scores-config": "app.conf", "other-config": "other.conf"})
    assert site.import_new(more=",file=else") != 0
    assert "no file of the host" in squeeze(capsys)


def test_changes_by_hand_are_written_where_the_values_come_from(site, capsys):
    site.write("node-2", workers=7)
    assert site.import_new() == 0
    before = site.read()
    site.change('"workers": 4', '"workers": 5', names=["node-1", "node-3"])
    assert site.run("import", "--yes") == 0, squeeze(capsys)
    after = site.read()
    assert {name for name in after if after[name] != before[name]} == {"scores/values.json"}
    assert json.loads(after["scores/values.json"])["workers"] == 5
    assert site.plan() == 0, squeeze(capsys)
    site.change("shared-by-all", "another-secret")
    assert site.run("import", "--yes") != 0
    output = squeeze(capsys)
    assert "another value of the secret" in output
    assert "another-secret" not in output
    assert site.read() == after


REFUSED = {
    "a missing file": (lambda site: site.path("node-2").unlink(), "node-2 has no file"),
    "bytes": (lambda site: site.path("node-2").write_bytes(b"\xff\xfe"), "is not UTF-8 text"),
    "another form": (
        lambda site: site.change('"braces"', '"x": [1], "braces"', names=["node-2"]),
        "differ in more",
    ),
    "a private key": (
        lambda site: site.change('"log"', '"k": ["-----BEGIN PRIVATE KEY-----"], "log"'),
        "a private key, which cannot be written as a reference",
    ),
    "a link": (
        lambda site: (site.path("node-1").unlink(), site.path("node-1").symlink_to("/etc/passwd")),
        "cannot be read",
    ),
    "a secret of one node": (
        lambda site: site.change('"log"', '"password": "abcd1234", "log"', names=["node-1"]),
        "",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_no_template_gives_are_named_and_nothing_is_written(site, capsys, name):
    spoil, words = REFUSED[name]
    spoil(site)
    assert site.import_new() != 0
    output = squeeze(capsys)
    assert words in output
    assert "root:" not in output
    assert not site.fleet.exists()


def test_without_a_file_on_the_host_the_import_says_what_to_write(site, capsys):
    site.write_host({})
    assert site.import_new() != 0
    assert "name the file of the application" in squeeze(capsys)


def test_views_that_disagree_are_not_imported(site, capsys):
    world = site.simulation.world("scores")
    state = world.state.node("node-2")
    world._state = world.state._replace(
        nodes=tuple(
            one._replace(peers=frozenset({"node-1"})) if one.name == state.name else one
            for one in world.state.nodes
        )
    )
    assert site.import_new() != 0
    assert re.search("node-. and node-. disagree about its members", squeeze(capsys))
