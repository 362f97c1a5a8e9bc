"""moto, which is EC2, S3 and IAM, as a process that verifies signatures; boto3 is its other client."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from datetime import UTC, datetime

BUCKET, REGION = "m2-backups", "ap-northeast-2"


class MotoServer:
    """A running server, which does what it is asked without keys until `check_signatures`.

    Args:
        folder: for its log.
        region: of the clients that are made for it.
    """

    def __init__(self, folder, region=REGION):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._region = region
        self._log = (folder / "moto.log").open("w")
        self._process = subprocess.Popen(
            ["moto_server", "-H", "127.0.0.1", "-p", str(self.port)],
            env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "1000000"},
            stdout=self._log,
            stderr=self._log,
        )
        self._wait()

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

    def client(self, service, keys=("maker", "maker")):
        """A client of boto3, with a key id and a key."""
        import boto3  # noqa: PLC0415  (only where it is installed)
        from botocore.config import Config  # noqa: PLC0415

        return boto3.client(
            service,
            region_name=self._region,
            endpoint_url=self.url,
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
            config=Config(s3={"addressing_style": "path"}),
        )

    def make_user(self, name, statement):
        """A user who may do what a statement allows; gives its key id and its key."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
        return made["AccessKeyId"], made["SecretAccessKey"]

    def check_signatures(self, count=0):
        """From now on every request must be signed by a key that may make it; `count` requests need not."""
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", str(count).encode(), method="POST"
        )
        request.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(request, timeout=5).close()

    def stop(self):
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


class MotoStorage(MotoServer):
    """A server with one bucket; the user `node` may write to it, and `reconcile` only read."""

    def __init__(self, folder):
        super().__init__(folder)
        self.keys = {
            "node": self.make_user("node", _allow("s3:PutObject")),
            "reconcile": self.make_user("reconcile", _allow("s3:GetObject", "s3:ListBucket")),
        }
        self.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        self.check_signatures()

    def put(self, key, body):
        """Write an object with the keys of the node."""
        self.client("s3", self.keys["node"]).put_object(Bucket=BUCKET, Key=key, Body=body)

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


def _allow(*actions):
    resources = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    return {"Effect": "Allow", "Action": list(actions), "Resource": resources}
