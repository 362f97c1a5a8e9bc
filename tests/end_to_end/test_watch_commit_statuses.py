"""`reconcile watch` writes the status of the newest commit to the forge that its host configuration names."""

import json

import pytest
from support.forges import OWN, REPOSITORY, TOKEN, serving_forge
from support.waiting import wait_until
from support.watch_process import fleet_file


@pytest.mark.parametrize("kind", sorted(OWN))
async def test_each_commit_gets_its_status_and_no_pass_waits_for_a_forge_that_is_away(stage, kind):
    token, host = stage.folder / "forge-token", stage.folder / "host.yaml"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    source = f"file://{stage.repository.folder}"
    with serving_forge(kind) as forge:
        rules = {
            "source": f"{source}/",
            "forge": kind,
            "api": forge.api,
            "repository": "3" if kind == "gitlab" else REPOSITORY,
            "token": str(token),
            "target": "https://reconcile.example.com/",
        }
        host.write_text(json.dumps({"commit_statuses": [rules]}))
        host.chmod(0o600)
        options = ("--poll", "0.5s", "--interval", "1s", "--host-config", str(host))

        def last():
            return [(one["commit"], one["state"]) for one in forge.statuses][-1:]

        async with stage.watch(*options, source=source) as watch:
            first = stage.repository.head
            await wait_until(lambda: last() == [(first, "success")])
            assert forge.statuses[0]["description"] == "2 of 2 clusters as desired"
            assert forge.statuses[0]["target"] == "https://reconcile.example.com/"

            forge.refuse_first(503, times=1)
            commit = stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
            await watch.until(lambda states: states["live"]["revision"]["id"] == commit)
            await wait_until(lambda: last() == [(commit, "success")])

            broken = stage.repository.commit({"fleet.yaml": "clusters: 7\n"})
            failed = "failed" if kind == "gitlab" else "failure"
            await wait_until(lambda: last() == [(broken, failed)])
            assert TOKEN not in watch.log
        assert forge.faults == []
        assert [one["state"] for one in forge.statuses if one["commit"] == first] == ["success"]
