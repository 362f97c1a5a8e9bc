"""Prometheus itself reads the alerts, the dashboard's expressions and the metrics of a real watch."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from support.watch_process import Stage

pytestmark = pytest.mark.component("promtool")
ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "examples" / "prometheus"
DASHBOARD = json.loads((ROOT / "examples" / "grafana" / "dashboard.json").read_text(encoding="utf-8"))


def promtool(*arguments, **more):
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, **more
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_rules_are_valid_and_pass_their_tests():
    promtool("check", "rules", PROMETHEUS / "rules.yml")
    promtool("test", "rules", PROMETHEUS / "rules_test.yml", cwd=PROMETHEUS)


def test_every_expression_of_the_dashboard_is_valid(tmp_path):
    found = [
        target["expr"].replace("$cluster", ".*")
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]
    rules = [{"record": f"panel:expression:{index}", "expr": one} for index, one in enumerate(found)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


async def test_the_metrics_of_a_watch_are_in_good_form(tmp_path):
    stage = Stage(tmp_path)
    async with stage.nodes(), stage.watch("--interval", "1s") as watch:
        await watch.until(lambda states: {one["state"] for one in states.values()} == {"converged"})
        text = (await watch.get("/metrics")).text
    names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert "reconciler_last_pass_timestamp_seconds" in names
    assert promtool("check", "metrics", input=text) == ""
