"""A watch follows the backups of a node in S3 through everything that can happen to them."""

import json

from support.m2_settings import managed_setting
from support.s3_server import BUCKET, REGION, make_host_file, make_package, s3_serving
from support.watch_process import Stage

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.simulation.addresses import find_free_addresses

OWN = {"enable": True, "hostname": "127.0.0.1", "connect": "store", "path": "own", "timeout": 1}
T1, T2, T3, T4 = (f"2026110{day}T141030000Z" for day in (1, 2, 3, 4))


def make_setting(port, *hostings):
    document = json.loads(managed_setting(*hostings))
    management = document["env"]["management"]
    management["api"]["port"] = port
    management["cluster"] = {"discover": {"members": ["127.0.0.1"]}}
    # The node should also write its own, to another path of the bucket, and never does.
    keys = {"accessKeyId": "of-the-node", "secretAccessKey": "secret", "region": REGION, "bucket": BUCKET}
    management["server"] = {
        "connection": [{"name": "store", "type": "httpAwsSig4", "info": keys}],
        "events": {"onSettingLoad": {"backup": OWN}},
    }
    return json.dumps(document).encode()


async def test_a_watch_applies_newer_backups_and_nothing_else(tmp_path):
    (place,) = find_free_addresses(1)

    def pack(*hostings):
        return make_package({"setting.json": make_setting(place.port, *hostings)})

    served = tmp_path / "served"
    served.mkdir()
    (served / "setting.json").write_bytes(make_setting(place.port, "a.example"))
    stage = Stage(tmp_path)
    with DemoNodes() as nodes:
        nodes.serve(served)
        async with s3_serving() as s3:
            s3.put_backup(T1, pack("a.example"))
            options = ("--interval", "60s", "--poll", "0.5s", "--host-config", make_host_file(tmp_path, s3))
            async with stage.watch(*options, source=f"s3://{BUCKET}/m2") as watch:
                missing = await watch.said("backup not found", code="backup-missing", level="warning")
                assert f"s3://{BUCKET}/own, and there is no backup" in missing["message"]
                await watch.said("pass ended", result="applied")
                second = s3.put_backup(T2, pack("a.example", "b.example"))
                line = await watch.said("revision read", title=f"setting_{T2}.tgz")
                await watch.said("pass ended", result="applied", revision=line["revision"])
                applied = sum(line["event"] == "step ended" for line in watch.lines)
                assert applied == 2
                # Late and twice: the older message after the newer one, and the same again.
                s3.put_feed(second.replace(T2, T1))
                s3.put_feed(second)
                # Poisoned.
                third = s3.put_backup(T3, b"poison")
                failed = await watch.said("source failed")
                assert third in failed["message"]
                assert failed["revision_in_use"] == line["revision"]
                # Out of order: removed, so that only older ones are left.
                seen = len(watch.lines)
                del s3.objects[third]
                del s3.objects[second]
                s3.put_backup(T1, pack("a.example"))
                older = await watch.said("source failed", after=seen)
                assert f"setting_{T1}.tgz, older than setting_{T2}.tgz" in older["message"]
                # The server is away, and back with a newer backup.
                s3.fail = lambda method, target: (503, "<Error><Code>SlowDown</Code></Error>", {})
                s3.put_backup(T4, pack("a.example", "d.example", "b.example"))
                await watch.said("source failed", after=watch.lines.index(older) + 1)
                assert sum(line["event"] == "step ended" for line in watch.lines) == applied
                s3.fail = lambda method, target: None
                await watch.said("source recovered")
                line = await watch.said("revision read", title=f"setting_{T4}.tgz")
                await watch.said("pass ended", result="applied", revision=line["revision"])
            assert watch.process.returncode == 0
