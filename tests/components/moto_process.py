"""moto, which is S3 and IAM, as a process that verifies signatures; boto3 writes to it, as a node would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from datetime import UTC, datetime

BUCKET, REGION = "m2-backups", "ap-northeast-2"


def _allow(*actions):
    resources = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    return {"Effect": "Allow", "Action": list(actions), "Resource": resources}


class MotoStorage:
    """A running server with one bucket; the user `node` may write to it, and `reconcile` only read.

    Args:
        folder: for its log.
    """

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = (folder / "moto.log").open("w")
        self._process = subprocess.Popen(
            ["moto_server", "-H", "127.0.0.1", "-p", str(port)],
            env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "1000000"},
            stdout=self._log,
            stderr=self._log,
        )
        self._wait()
        self.keys = {
            "node": self._make_user("node", _allow("s3:PutObject")),
            "reconcile": self._make_user("reconcile", _allow("s3:GetObject", "s3:ListBucket")),
        }
        self._make_client("s3", ("maker", "maker")).create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        # From now on every request must be signed by a key that may make it.
        request = urllib.request.Request(f"{self.url}/moto-api/reset-auth", b"0", method="POST")
        request.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(request, timeout=5).close()

    def _wait(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/moto-api/", timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise TimeoutError("moto_server did not start")

    def _make_client(self, service, keys):
        import boto3  # noqa: PLC0415  (only where it is installed)
        from botocore.config import Config  # noqa: PLC0415

        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
            config=Config(s3={"addressing_style": "path"}),
        )

    def _make_user(self, name, statement):
        iam = self._make_client("iam", ("maker", "maker"))
        iam.create_user(UserName=name)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
        return made["AccessKeyId"], made["SecretAccessKey"]

    def put(self, key, body):
        """Write an object with the keys of the node."""
        self._make_client("s3", self.keys["node"]).put_object(Bucket=BUCKET, Key=key, Body=body)

    def write_backup(self, package, *, path="edge", time=None):
        """A backup as M2 writes it: the package, and then the feed; gives its key."""
        time = time or datetime.now(UTC).strftime("%Y%m%dT%H%M%S") + "000Z"
        key = f"{path}/settings/{time[:4]}/{time[4:6]}/setting_{time}.tgz"
        message = {
            "messageVer": "1",
            "userdata": None,
            "action": {"api": "/setting/upload"},
            "timestamp": datetime.now(UTC).isoformat(),
            "parameters": [{"url": f"https://{BUCKET}.s3.{REGION}.amazonaws.com/{key}"}],
        }
        self.put(key, package)
        self.put(f"{path}/feed.json", json.dumps(message).encode())
        return key

    def stop(self):
        self._process.terminate()
        self._process.wait(20)
        self._log.close()
