"""Traces of real commands and a real watch over real HTTP: to a strict collector, a slow one, and none."""

import json
import os
import sys
import time

import pytest
from support.commands import run_process
from support.git_repositories import ALONE
from support.otlp_receiver import collecting
from support.waiting import wait_until
from support.watch_process import Stage, fleet_file

from reconciler.cli.demo_fixtures import DemoNodes, DemoRepository, DemoSink, find_examples
from reconciler.tracing.provider import FLUSH_SECONDS

PROGRAM = [sys.executable, "-m", "reconciler.cli.main"]
TOKEN = "Bearer t0ken-of-the-collector"
NOBODY = "http://127.0.0.1:9/v1/traces"


class Site:
    """A fleet with its nodes and its sink, and a host that sends traces."""

    def __init__(self, folder, nodes):
        self.folder, self.nodes = folder, nodes
        self.repository = DemoRepository(folder / "fleet", find_examples() / "demo")
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("GIT_", "RECONCILE_"))
            },
            **ALONE,
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        token = folder / "token"
        token.write_text(TOKEN + "\n")
        token.chmod(0o600)

    def configure(self, url, **more):
        rules = {"endpoint": url, "headers": {"authorization": str(self.folder / "token")}, **more}
        file = self.folder / "host.yaml"
        file.write_text(json.dumps({"traces": rules} if url else {}))
        file.chmod(0o600)
        self.environment["RECONCILE_HOST_CONFIG"] = str(file)

    def run(self, *arguments, status=0, **environment):
        own = {**self.environment, **environment}
        done = run_process(*PROGRAM, *arguments, str(self.repository.folder), env=own)
        assert done.returncode == status, done.stderr
        return done


@pytest.fixture
def site(tmp_path):
    with DemoNodes() as nodes:
        made = Site(tmp_path, nodes)
        with DemoSink() as sink:
            fleet = made.repository.folder / "fleet.yaml"
            made.sink = sink
            fleet.write_text(f"feedback: {{url: '{sink.url}'}}\n" + fleet.read_text())
            made.repository.commit("All of it")
            made.simulation = nodes.serve(made.repository.folder)
            yield made


def test_a_dry_run_is_one_trace(site):
    trace = "0af7651916cd43dd8448eb211c80319c"
    with collecting() as collector:
        site.configure(collector.url)
        site.run("--dry-run", TRACEPARENT=f"00-{trace}-b7ad6b7169203331-01")
    root = collector.the("pass")
    assert root.trace.hex() == trace
    assert {span.trace for span in collector.spans} == {root.trace}
    assert root.attributes["reconciler.trigger"] == "command"
    plan = collector.the("plan")
    assert collector.the("read source") in collector.parts(root)
    for reading in collector.named("observe nodes"):
        assert reading.parent == plan.id
        calls = collector.parts(reading)
        assert calls
        assert all(call.kind == 3 and call.attributes["server.address"] == "127.0.0.1" for call in calls)
    assert not collector.named("apply")
    assert all(resource["service.name"] == "reconciler" for resource in collector.resources)
    assert all(headers["authorization"] == TOKEN for headers in collector.headers)


def test_an_apply_has_run_steps_calls_and_feedback_and_nothing_secret(site):
    with collecting() as collector:
        site.configure(collector.url)
        site.run("--yes")
    root, run = collector.the("pass"), collector.the("run")
    assert run.attributes["reconciler.run"]
    assert run in collector.parts(collector.the("apply"))
    steps = [span for span in collector.spans if span.name.startswith("step ")]
    assert steps
    assert all(step.parent == run.id and step.attributes["reconciler.state"] == "done" for step in steps)
    for step in steps:
        called = {call.attributes["reconciler.called"] for call in collector.parts(step)}
        assert step.attributes["reconciler.node"] in called
    deliveries = collector.named("deliver feedback")
    assert deliveries
    for delivery in deliveries:
        (post,) = collector.parts(delivery)
        assert post.attributes["url.full"] == site.sink.url
    assert len(collector.named("plan")) == 2  # before and after
    assert set(collector.spans) - set(collector.parts(root)) == {root}
    bodies = b"".join(collector.bodies)
    settings = b"".join(path.read_bytes() for path in site.repository.folder.rglob("*.json"))
    assert TOKEN.encode() not in bodies
    # What a setting alone has: long words of its files that are in no name, address or path.
    words = {word.strip(b'",:') for word in settings.split() if len(word) > 16}
    assert words
    assert not [word for word in words if word in bodies]


@pytest.mark.parametrize("fault", ["away", "refuses", "hangs"])
def test_a_collector_that_fails_changes_nothing_but_a_remark(site, fault):
    site.configure("")
    command = ("--dry-run", "--format", "json")
    plain = site.run(*command)
    if fault == "away":
        site.configure(NOBODY)
        began = time.monotonic()
        traced = site.run(*command)
    else:
        with collecting(
            500 if fault == "refuses" else 200, delay=0 if fault == "refuses" else 30
        ) as collector:
            site.configure(collector.url)
            began = time.monotonic()
            traced = site.run(*command)
    took = time.monotonic() - began
    assert traced.stdout == plain.stdout
    assert "of the trace did not reach the collector" in traced.stderr
    assert "Traceback" not in traced.stderr
    assert TOKEN not in traced.stderr
    assert len(traced.stderr.splitlines()) <= len(plain.stderr.splitlines()) + 1
    assert took < FLUSH_SECONDS + 15


def test_a_command_without_traces_does_not_load_the_library(site):
    script = (
        "import sys\nfrom reconciler.cli.main import main\n"
        f"main(['--yes', {str(site.repository.folder)!r}])\nprint(*sys.modules)"
    )
    site.configure("")
    done = run_process(sys.executable, "-c", script, check=True, env=site.environment)
    loaded = done.stdout.splitlines()[-1].split()
    assert "reconciler.rollout.apply_pass" in loaded
    assert not [
        name for name in loaded if name.startswith(("opentelemetry", "requests", "reconciler.tracing.s"))
    ]


def test_the_extra_that_is_missing_is_named(site, tmp_path):
    hidden = tmp_path / "hidden"
    (hidden / "opentelemetry").mkdir(parents=True)
    (hidden / "opentelemetry" / "__init__.py").write_text("")
    script = f"import sys\nsys.path.insert(0, {str(hidden)!r})\nfrom reconciler.cli.main import main\n"
    script += "sys.exit(main())"
    site.configure(NOBODY)
    folder = str(site.repository.folder)
    done = run_process(sys.executable, "-c", script, "--dry-run", folder, env=site.environment)
    assert done.returncode == 1
    assert "pip install 'fleet-reconciler[otel]'" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_watch_traces_each_pass_and_goes_on_without_its_collector(tmp_path):
    stage = Stage(tmp_path)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    host = tmp_path / "host.yaml"
    with collecting() as collector:
        rules = {"endpoint": collector.url, "headers": {"authorization": str(token)}}
        host.write_text(json.dumps({"traces": rules}))
        host.chmod(0o600)
        async with stage.nodes(), stage.watch("--host-config", str(host), "--interval", "2s") as watch:
            await watch.until(lambda states: {one["state"] for one in states.values()} == {"converged"})
            stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_connection")})
            ended = await watch.said("pass ended", cluster="live", result="applied")
            await watch.until(lambda states: {one["state"] for one in states.values()} == {"converged"})

            def find_applied():
                return [
                    one
                    for one in collector.named("pass")
                    if one.attributes.get("reconciler.run") == ended["run"]
                ]

            await wait_until(find_applied)
            collector.status = 500
            await watch.said("traces are not delivered")
            before = len([line for line in watch.lines if line["event"] == "traces are not delivered"])
            # The passes go on.
            await stage.drift("lab-1@127.0.0.1")
            await watch.said("pass ended", cluster="lab", result="applied")
            collector.status = 200
            await watch.said("traces are delivered again")
            watch.signal()
            assert await watch.ended() == 0
    assert before == 1
    assert TOKEN not in watch.log
    passes = collector.named("pass")
    assert {one.attributes["reconciler.cluster"] for one in passes} == {"live", "lab"}
    assert all(not one.parent for one in passes)
    (applied,) = find_applied()
    assert applied.attributes["reconciler.result"] == "applied"
    assert applied.attributes["reconciler.trigger"]
    run = next(one for one in collector.parts(applied, "run"))
    assert run.attributes["reconciler.run"] == ended["run"]
    calls = [one for one in collector.parts(run) if one.name == "POST"]
    assert calls
    # Passes over two clusters at the same time are two traces.
    for one in passes:
        own = {part.attributes.get("reconciler.cluster") for part in collector.parts(one)}
        assert own <= {None, one.attributes["reconciler.cluster"]}
        assert {part.trace for part in collector.parts(one)} == {one.trace}
