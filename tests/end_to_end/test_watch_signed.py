"""`reconcile watch` takes only what is signed, says once what it refuses, and never goes back unasked."""

import pytest
from support.git_repositories import git
from support.signing import SSH_MISSING, SshPerson, signed_commit
from support.waiting import wait_until
from support.watch_process import fleet_file

pytestmark = pytest.mark.skipif(bool(SSH_MISSING), reason=SSH_MISSING or "-")

NODE = "live-1@127.0.0.1"


async def looked(watch, result, least):
    """Wait until the source was read so often with this result."""

    async def were_counted():
        text = (await watch.get("/metrics")).text
        rows = [row for row in text.splitlines() if row.startswith("reconciler_source_looks_total{")]
        return any(float(row.split()[-1]) >= least for row in rows if f'"{result}"' in row)

    await wait_until(were_counted, every=0.05)


async def test_an_unsigned_commit_is_refused_said_once_and_remembered(stage, tmp_path):
    ada = SshPerson.make(tmp_path, "ada")
    allowed = tmp_path / "allowed"
    allowed.write_text(ada.line())
    signed_commit(stage.repository, ada)
    options = ("--interval", "1h", "--poll", "0.1s", "--require-signed", "ssh", "--allowed-signers")
    remote = f"file://{stage.repository.folder}"
    async with stage.watch(*options, str(allowed), source=remote) as watch:
        await watch.said("pass ended", cluster="live", result="converged")
        changed = {"fleet.yaml": fleet_file(stage.addresses, "block_new_session")}
        unsigned = stage.repository.commit(changed)
        refused = await watch.said("source failed")
        assert unsigned[:12] in refused["message"]
        assert "[unsigned]" in refused["message"]
        await looked(watch, "invalid", 5)
        assert sum(line["event"] == "source failed" for line in watch.lines) == 1
        assert stage.changes() == []

        signed_commit(stage.repository, ada)
        await watch.said("pass ended", cluster="live", result="applied")
        assert await stage.mode(NODE) == "block_new_session"


async def test_a_branch_that_was_set_back_is_refused_until_it_goes_forward(stage):
    remote = f"file://{stage.repository.folder}"
    async with stage.watch("--interval", "1h", "--poll", "0.1s", source=remote) as watch:
        await watch.said("pass ended", cluster="live", result="converged")
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        await watch.said("pass ended", cluster="live", result="applied")
        done = stage.changes()
        git(stage.repository.folder, "reset", "--quiet", "--hard", "HEAD~1")
        refused = await watch.said("plan refused", cluster="live")
        assert refused["code"] == "older-revision"
        assert stage.changes() == done
        git(stage.repository.folder, "reset", "--quiet", "--hard", "ORIG_HEAD")
        mark = len(watch.lines)
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "normal")})
        await watch.said("pass ended", cluster="live", result="applied", after=mark)
        assert await stage.mode(NODE) == "normal"
