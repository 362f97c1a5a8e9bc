"""A real watch whose revision needs a secret file that is written later."""

from support.m2_settings import managed_setting
from support.watch_process import make_m2_stage


def write_secret(folder):
    """Put the secret in place at once, as a tool does."""
    new = folder / "new"
    new.write_text("value")
    new.chmod(0o600)
    new.replace(folder / "token")


async def test_a_watch_goes_on_by_itself_once_the_secret_is_there_and_tells_the_cause_once(tmp_path):
    plain = managed_setting("one.example", version="1")
    sealed = plain.replace("{", '{"functions": {"token": "${file:token}"}, ', 1)
    files = {"plain.json": plain, "sealed.json": sealed}
    stage = make_m2_stage(tmp_path, files, {1: ", setting: sealed.json"})
    secrets = tmp_path / ".config" / "reconciler" / "secrets"
    secrets.mkdir(parents=True)
    secrets.chmod(0o700)
    async with (
        stage.nodes(converged=False),
        stage.watch("--interval", "0.5s", "--poll", "0.5s") as watch,
    ):
        ended = await watch.said("pass ended", cluster="edge", result="partial")
        assert (
            "n1: nothing is sent (upload): the secret ${file:token} at /functions/token" in ended["message"]
        )
        ended = await watch.said("pass ended", cluster="edge", result="invalid")
        assert "run" not in ended
        passes = 'reconciler_passes_total{cluster="edge",result="invalid"}'

        def count(metrics):
            return float(metrics.partition(passes)[2].split()[0])

        while count((await watch.get("/metrics")).text) < 3:
            await watch.until(lambda _: True)
        state = (await watch.states())["edge"]
        assert state["state"] == "invalid"
        assert "the secret ${file:token}" in state["problem"]
        assert sorted(set(stage.changes())) == ["n0", "n2"], "the others have what they need"

        done = [line for line in watch.lines if line["event"] == "step ended"]
        told = [line for line in watch.lines if line["event"] == "pass ended"]
        assert [line["node"] for line in done] == ["n0", "n2"]
        assert [line["result"] for line in told] == ["partial", "invalid"], "retries are not told"

        after = len(watch.lines)
        write_secret(secrets)
        await watch.said("step ended", after=after, node="n1", state="done")
        await watch.until(lambda states: states["edge"]["state"] == "converged")
