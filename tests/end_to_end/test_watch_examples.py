"""The examples for CI and systemd: they parse, and their shell does what the comments promise."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML
from support.commands import run_process

from reconciler.cli.host_loader import parse_config
from reconciler.cli.state_folder import SYSTEM
from reconciler.host.credentials import GIT_TOKEN, WEBHOOK_SECRET, name_file_variable
from reconciler.server.watch_options import parse_duration_option, parse_listen_address

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
UNIT = EXAMPLES / "systemd" / "reconcile-watch.service"


def parsed(name):
    return YAML(typ="safe").load((EXAMPLES / "ci" / name).read_text(encoding="utf-8"))


def github_step(name):
    jobs = parsed("github.yml")["jobs"].values()
    return next(step["run"] for job in jobs for step in job["steps"] if step.get("name") == name)


def gitlab_script(job="fleet plan"):
    """What makes the job's folder, and all items of `script`: the runner joins them into one shell."""
    jobs = parsed("gitlab.yml")
    *folder, _ = jobs[".reconcile"]["before_script"]
    return "\n".join([*folder, *jobs[job]["script"]])


def gitlab_install():
    return "\n".join(parsed("gitlab.yml")[".reconcile"]["before_script"])


def snippets():
    for job in parsed("github.yml")["jobs"].values():
        yield from (step["run"] for step in job["steps"] if "run" in step)
    for job in parsed("gitlab.yml").values():
        yield from (*job.get("before_script", ()), *job.get("script", ()))


@pytest.mark.parametrize("number", range(len(list(snippets()))))
def test_every_snippet_is_valid_shell(number):
    snippet = list(snippets())[number]
    checked = subprocess.run(["bash", "-n"], input=snippet, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


class Runner:
    """A checkout, a folder for everything else, and stand-ins for the commands that the snippets call."""

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / "bin"
        self.checkout = folder / "checkout"
        for made in (self.bin, self.checkout):
            made.mkdir()
        self.environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(folder),
            "FLEET": ".",
            "RUNNER_TEMP": str(folder),
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "TMPDIR": str(folder),
            "CI_API_V4_URL": "https://forge.example.com/api/v4",
            "CI_PROJECT_ID": "3",
            "CI_MERGE_REQUEST_IID": "7",
        }

    def stand_in(self, name, script):
        path = self.bin / name
        path.write_text(f"#!/usr/bin/env bash\n{script}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def reconcile(self, status, errors=""):
        self.stand_in("reconcile", f"echo '# A plan'; echo '{errors}' >&2; exit {status}")

    def run(self, snippet, **environment):
        command = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", snippet)
        return run_process(*command, cwd=self.checkout, env={**self.environment, **environment})

    def untouched(self):
        """Whether nothing stands in the checkout that was not there."""
        return list(self.checkout.iterdir()) == []

    def read(self, name):
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path)


VERDICTS = [(0, 0), (2, 0), (3, 3), (1, 1), (139, 1)]


@pytest.mark.parametrize(("status", "verdict"), VERDICTS)
def test_github_posts_whatever_happens_and_fails_where_it_should(runner, status, verdict):
    runner.reconcile(status, "fleet.yaml:3:1: error: unknown key")
    assert runner.run(github_step("Plan")).returncode == 0
    assert runner.read("output") == f"status={status}\n"
    assert runner.read("plan.md").startswith("# A plan")
    assert ("    fleet.yaml:3:1" in runner.read("plan.md")) is (status not in {0, 2, 3})
    assert runner.run(github_step("Verdict"), STATUS=str(status)).returncode == verdict
    assert runner.untouched()


@pytest.mark.parametrize("forge", ["github", "gitlab"])
def test_a_comment_with_many_errors_stays_within_what_a_forge_takes(runner, forge):
    runner.stand_in("reconcile", f"printf 'é%.0s' {{1..{60_000}}}; printf 'aé%.0s' {{1..9000}} >&2; exit 1")
    done = runner.run(github_step("Plan") if forge == "github" else gitlab_script())
    told = runner.read("plan.md") if forge == "github" else done.stdout
    shown = told.rpartition("\n\n    ")[2]
    assert told.startswith("éé")
    assert 2_000 < len(shown) < 4_000
    assert len(told.partition("aé")[0] + shown) < 65_536


ASKED = 'echo "$*" > ../called; cat "${@: -1}" > ../body; echo "$RECONCILE_FORGE_TOKEN" > ../token'


def test_github_writes_the_comment_by_the_program_itself(runner):
    (runner.folder / "plan.md").write_text("# A plan\n", encoding="utf-8")
    runner.stand_in("reconcile", ASKED)
    steps = [step for step in parsed("github.yml")["jobs"]["comment"]["steps"] if "env" in step]
    assert [step["env"] for step in steps] == [{"RECONCILE_FORGE_TOKEN": "${{ github.token }}"}]
    done = runner.run(github_step("Write the comment"))
    assert done.returncode == 0, done.stderr
    assert runner.read("called") == f"comment {runner.folder}/plan.md\n"
    assert runner.read("body") == "# A plan\n"
    assert runner.untouched()


def test_github_gives_each_job_no_more_than_it_needs():
    workflow = parsed("github.yml")
    assert workflow["permissions"] == {}
    assert workflow["jobs"]["validate"]["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["plan"]["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["comment"]["permissions"] == {"pull-requests": "write"}
    assert set(workflow["on"]) == {"pull_request"}


def test_github_pins_actions_and_never_pastes_foreign_text_into_a_script():
    for job in parsed("github.yml")["jobs"].values():
        for step in job["steps"]:
            assert re.fullmatch(r"actions/[\w-]+@v\d+(\.\d+)*", step.get("uses", "actions/none@v1"))
            assert "${{" not in step.get("run", "")


@pytest.mark.parametrize("forge", ["github", "gitlab"])
def test_validating_asks_for_the_fleet_and_judges_by_its_status(runner, forge):
    """With the program itself: a broken setting fails the job, a right one passes."""
    script = github_step("Validate")
    if forge == "gitlab":
        script = gitlab_script("fleet validate")
    runner.stand_in("reconcile", f'exec "{sys.executable}" -m reconciler.cli.main "$@"')
    setting = (EXAMPLES / "lone" / "setting.json").read_text(encoding="utf-8")
    (runner.checkout / "setting.json").write_text(setting, encoding="utf-8")
    assert runner.run(script).returncode == 0
    (runner.checkout / "setting.json").write_text(setting.replace(",", "", 1), encoding="utf-8")
    told = runner.run(script)
    assert told.returncode == 1
    start = "::error file=setting.json,line=" if forge == "github" else "setting.json:"
    assert told.stdout.startswith(start), told.stderr


@pytest.mark.parametrize(("status", "verdict"), VERDICTS)
def test_gitlab_without_a_token_still_judges(runner, status, verdict):
    runner.reconcile(status, "no such ref")
    done = runner.run(gitlab_script())
    assert done.returncode == verdict
    assert done.stdout.startswith("# A plan")
    assert ("\n    no such ref" in done.stdout) is (status not in {0, 2, 3})
    assert runner.untouched()
    assert sorted(one.name for one in runner.folder.iterdir()) == ["bin", "checkout"], "all is removed"


def test_gitlab_writes_the_note_by_the_program_itself(runner):
    runner.stand_in("reconcile", f'if [ "$1" = comment ]; then {ASKED}; else echo "# A plan"; exit 2; fi')
    done = runner.run(gitlab_script(), RECONCILE_FORGE_TOKEN="t0ken")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"comment /\S+/plan\.md\n", runner.read("called"))
    assert runner.read("token") == "t0ken\n"
    assert "t0ken" not in done.stdout + done.stderr
    assert runner.read("body") == "# A plan\n"
    assert runner.untouched()


def test_actionlint_finds_nothing_in_the_workflow():
    lint = [Path(sys.executable).with_name("actionlint"), "-shellcheck=", "-config-file"]
    files = [EXAMPLES / "ci" / "actionlint.yaml", EXAMPLES / "ci" / "github.yml"]
    checked = subprocess.run([*lint, *files], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


def installs():
    """The snippets that install the program, by forge; both jobs of a forge have the same."""
    jobs = parsed("github.yml")["jobs"].values()
    (github,) = {step["run"] for job in jobs for step in job["steps"] if step.get("name") == "Install"}
    return {"github": github, "gitlab": gitlab_install()}


PIP = 'echo "$*" >> "$ASKED"'
MAKES_VENV = f"""case "$*" in
  "-m venv "*) mkdir -p "$3/bin"; printf '#!/bin/sh\\n%s\\n' '{PIP}' > "$3/bin/pip"; chmod +x "$3/bin/pip" ;;
  *) {PIP} ;;
esac"""


@pytest.mark.parametrize("forge", ["github", "gitlab"])
@pytest.mark.parametrize(
    ("digest", "passes"),
    [
        ("a1" * 32, True),
        ("", False),
        ("A1" * 32, False),
        ("a1" * 31, False),
        ("a1" * 32 + "0", False),
        ("a1" * 32 + "&x", False),
        ("a1" * 32 + "\n" + "z", False),
    ],
)
def test_the_program_is_installed_by_url_and_by_a_hash_that_pip_compares(runner, forge, digest, passes):
    for name in ("python", "python3"):
        runner.stand_in(name, MAKES_VENV)
    url = "https://artifacts.example.com/w-1-py3-none-any.whl"
    asked = str(runner.folder / "asked")
    done = runner.run(installs()[forge], WHEEL_URL=url, WHEEL_SHA256=digest, ASKED=asked)
    assert (done.returncode == 0) is passes, done.stderr
    wanted = f"install --quiet fleet-reconciler @ {url}#sha256={digest}\n"
    assert runner.read("asked").removeprefix("-m pip ") == (wanted if passes else "")
    assert runner.untouched()


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_as_delivered_the_wheel_is_nobodys(name):
    """The reader has to fill in both: until then nothing can be installed."""
    told = parsed(name)
    values = told.get("env") or told["variables"]
    assert urlsplit(values["WHEEL_URL"]).hostname == "artifacts.example.com"
    assert values["WHEEL_SHA256"] == "0" * 64


def test_no_document_installs_the_program_by_a_name_alone():
    """On the public index another project has the name of the Python package."""
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *EXAMPLES.rglob("*")]
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.is_file()}
    by_name = re.compile(
        r'pip"? install[^\n]*\s"?(?:fleet-)?reconciler\b(?! @ )|dependencies = .*"reconciler"'
    )
    assert [str(path) for path, text in texts.items() if by_name.search(text)] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "fleet-reconciler"


def unit_value(key):
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)[-1]


def test_systemd_waits_longer_than_the_grace_of_the_watch():
    grace = re.search(r"--grace (\S+)", UNIT.read_text(encoding="utf-8"))[1]
    assert float(unit_value("TimeoutStopSec")) > parse_duration_option(grace, name="--grace") + 10


def test_systemd_environment_file_holds_options_that_the_watch_takes():
    lines = (EXAMPLES / "systemd" / "watch.env").read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    words = values["RECONCILE_OPTIONS"].split()
    assert parse_duration_option(words[words.index("--interval") + 1], name="--interval") == 300
    assert parse_listen_address(words[words.index("--listen") + 1]) is not None
    assert {word for word in words if word.startswith("--")} <= {"--ref", "--interval", "--poll", "--listen"}
    assert [name for name in values if "TOKEN" in name or "SECRET" in name] == []


def test_the_unit_hands_over_secrets_as_files_and_needs_no_shell():
    text = UNIT.read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert command.split() == [
        "/opt/reconciler/bin/reconcile",
        "watch",
        "${RECONCILE_SOURCE}",
        *("--grace", "90s", "--log-format", "json"),
        "$RECONCILE_OPTIONS",
    ]
    loaded = re.findall(r"^LoadCredential=([a-z-]+):", text, re.MULTILINE)
    handed = dict(re.findall(r"^Environment=(RECONCILE_\w+_FILE)=%d/([a-z-]+)$", text, re.MULTILINE))
    assert sorted(loaded) == sorted(handed.values())
    assert set(handed) == {name_file_variable(GIT_TOKEN), name_file_variable(WEBHOOK_SECRET)}


def test_the_unit_keeps_its_state_where_every_command_of_the_host_finds_it():
    assert Path("/var/lib") / unit_value("StateDirectory") == SYSTEM
    named = [text for file in UNIT.parent.iterdir() for text in file.read_text().splitlines()]
    assert [text for text in named if "--state" in text or text.startswith("RECONCILE_STATE=")] == []


def test_the_hosts_file_of_the_unit_is_right():
    path = UNIT.parent / "host.yaml"
    assert parse_config(str(path), path.read_bytes()).secrets.folders == ("$CREDENTIALS_DIRECTORY",)
    without_marks = re.sub(
        r"^# (?=networks|signers|commands|ssh|  )", "", path.read_text(), flags=re.MULTILINE
    )
    assert "stop-sora" in parse_config(str(path), without_marks.encode()).commands
    assert f"RECONCILE_HOST_CONFIG=/etc/reconciler/{path.name}" in UNIT.read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_finds_no_fault_and_little_exposure(tmp_path):
    # Elsewhere than where it is installed, the one complaint would be that the program is missing.
    unit = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8").replace(
        "/opt/reconciler/bin/reconcile watch", f"{sys.executable} watch"
    )
    unit.write_text(text, encoding="utf-8")
    checked = run_process("systemd-analyze", "verify", unit)
    assert checked.returncode == 0, checked.stderr
    assert UNIT.name not in checked.stderr
    rated = run_process("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
    assert rated.returncode == 0, rated.stdout
