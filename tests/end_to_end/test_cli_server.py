"""Commands with `--server`: a real watch answers over HTTP what the state folder would."""

import asyncio
import json
import os
import re
import sys
from datetime import timedelta
from pathlib import Path

from support.git_repositories import ALONE
from support.m2_settings import MANAGEMENT
from support.watch_process import Stage, fleet_file

from reconciler.api.acts import ACTS
from reconciler.core.actor import Actor
from reconciler.core.roles import EVERYTHING_ALLOWED
from reconciler.host.clock import utc_now
from reconciler.ports.access_store import AccessToken
from reconciler.server.access.secret_texts import digest_secret, make_token_text
from reconciler.store.factory import open_store


async def write_token(folder, state):
    text, now = make_token_text(), utc_now()
    with open_store(state) as store:
        token = AccessToken("ci", EVERYTHING_ALLOWED, now + timedelta(days=1), now, Actor("kim"))
        await store.create_access_token(digest_secret(text), token)
    file = folder / "token"
    file.touch(mode=0o600)
    file.write_text(text)
    return file


class Commands:
    """Commands of a user who has a token, and no state of their own."""

    def __init__(self, folder, url, file):
        self.folder, self.file = folder, file
        self.environment = {**os.environ, **ALONE, "HOME": str(folder / "home"), "RECONCILE_SERVER": url}
        self.environment |= {"RECONCILE_TOKEN_FILE": str(file), "NO_COLOR": "1"}

    async def run(self, *arguments, status=0, **environment):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reconciler.cli.main", *arguments),
            env={**self.environment, **environment},
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate()
        text = out.decode() + error.decode()
        assert process.returncode == status, text
        assert "Traceback" not in text
        return out.decode() if status == 0 else text


def without_times(text):
    """The JSON of a status without what differs from one reading to the next."""
    found = json.loads(text)
    found.pop("at", None)
    found.pop("read_at", None)
    return found


async def test_a_server_answers_what_the_state_folder_would(tmp_path):
    stage = Stage(tmp_path)
    first = stage.repository.head
    file = await write_token(tmp_path, stage.state)
    async with stage.nodes(converged=False), stage.watch("--interval", "60s") as watch:
        for cluster in ("live", "lab"):
            await watch.until(lambda states, name=cluster: states.get(name, {}).get("state") == "converged")
        commands = Commands(tmp_path, str(watch.client.base_url), file)
        local = {"RECONCILE_SERVER": "", "RECONCILE_TOKEN_FILE": "", "RECONCILE_STATE": str(stage.state)}
        source = str(stage.repository.folder)

        here = await commands.run("status", source, "--format", "json", **local)
        there = await commands.run("status", "--format", "json")
        assert without_times(there) == without_times(here)
        assert "live-1@127.0.0.1" in await commands.run("status", "--full", "--only", "live")

        for command in (("history",), ("history", "orders"), ("history", "latest")):
            here = await commands.run(*command, "--format", "json", **local)
            assert json.loads(await commands.run(*command, "--format", "json")) == json.loads(here)

        assert "is suspended: storm" in await commands.run("suspend", "lab", "--reason", "storm")
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        assert "A pass begins now: live" in await commands.run("look-again", "live")
        await watch.until(lambda states: states["live"]["revision"]["id"] != first)
        await watch.until(lambda states: states["live"]["state"] == "converged")
        plan = json.loads(await commands.run("--dry-run", "--format", "json"))
        assert plan["plan"]["revision"]["id"] != first

        assert "held until" in await commands.run(
            "hold", "lab-1@127.0.0.1", "--until", "4h", "--reason", "disk"
        )
        assert "changed again" in await commands.run("release", "lab/lab-1@127.0.0.1")
        assert "allowed again" in await commands.run("resume", "lab")
        assert "the next run tries it anyway" in await commands.run("retry", "live")
        assert "No plan waits" in await commands.run("approve", "--list")

        await commands.run("rollback", first, "--only", "live", "--yes", "--reason", "slow")
        assert "no longer pinned" in await commands.run("unpin", "live")
        orders = json.loads(await commands.run("history", "orders", "--format", "json"))
        kinds = [one["kind"] for one in orders]
        assert kinds[:6] == ["unpin", "pin", "retry", "resume", "release", "hold"]
        assert "token:ci" in json.dumps(orders[1])

        denied = await commands.run("suspend", "--reason", "r", RECONCILE_TOKEN_FILE="", status=1)
        assert "needs a login" in denied
        assert "--token-file" in denied
        told = await commands.run("suspend", "--reason", "r", "--server", "http://127.0.0.1:9", status=1)
        assert "does not answer" in told
        assert file.read_text() not in watch.log


PERMISSIONS = {"enableSetting": True, "enableGet": True, "enablePurge": True}
ACCESS = {**MANAGEMENT, "roles": [{"name": "admin", "permissions": PERMISSIONS}]}
SETTING = json.dumps({"env": {"management": ACCESS}, "hosting": [{"name": "a.example", "listen": "*:80"}]})


def write_caches(addresses):
    text = "clusters:\n  - name: edge\n    kind: m2\n    setting: s.json\n    nodes:\n"
    return text + "".join(
        f"      - {{name: n{number}, address: '{one}'}}\n" for number, one in enumerate(addresses, 1)
    )


async def test_a_server_purges_and_says_whether_a_node_may_be_stopped(tmp_path):
    stage = Stage(tmp_path)
    stage.repository.commit({"fleet.yaml": write_caches(stage.addresses), "s.json": SETTING})
    file = await write_token(tmp_path, stage.state)
    async with stage.nodes(), stage.watch("--interval", "60s") as watch:
        await watch.until(lambda states: states.get("edge", {}).get("state") == "converged")
        commands = Commands(tmp_path, str(watch.client.base_url), file)

        asked = await commands.run("purge", "a.example/x", status=1)
        assert "cannot ask whether to purge this" in asked
        assert json.loads(await commands.run("history", "operations", "--format", "json")) == []
        output = await commands.run("purge", "a.example/x", "--yes", "--reason", "old", "--format", "json")
        (purged,) = json.loads(output)["operations"]
        assert purged["counts"] == {"done": 6}
        assert (purged["actor"]["user"], purged["actor"]["why"]) == ("token:ci", "old")
        risky = await commands.run("purge", "a.example/*", "--yes", status=1)
        assert "high risk: everything on a.example" in risky
        assert "no cluster 'none'" in await commands.run("purge", "x", "--cluster", "none", "--yes", status=1)

        # The order of 6 for a no, and of 7 for an answer that is not there, is that of the command here.
        yes = json.loads(
            await commands.run("allow-stop", "n1", "--for", "30m", "--reason", "disk", "--format", "json")
        )
        assert (yes["answer"], yes["cluster"], yes["exit_status"]) == ("yes", "edge", 0)
        held = json.loads(await commands.run("history", "operations", "--format", "json"))
        assert "token:ci" in json.dumps(held)
        assert "released" in await commands.run("allow-stop", "edge/n1", "--release")
        assert "there is no reservation" in await commands.run("allow-stop", "n1", "--release")
        assert "no node" in (await commands.run("allow-stop", "none", status=1)).lower()

        for command in (("purge", "a.example/x", "--yes"), ("allow-stop", "n1")):
            assert "needs a login" in await commands.run(*command, RECONCILE_TOKEN_FILE="", status=1)
        state = await commands.run(
            "allow-stop", "n1", "--state", str(stage.state), "--server", "http://localhost:1", status=1
        )
        assert "contradict each other" in state
        assert file.read_text() not in watch.log


def test_every_act_is_tried_by_its_command():
    tried = set(re.findall(r'commands\.run\(\s*"([a-z-]+)"', Path(__file__).read_text("utf-8")))
    assert {one.name for one in ACTS} <= tried
