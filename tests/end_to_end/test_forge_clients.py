"""curl and HTTPie call the stand-ins of the forges: they are not made for this program alone."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from support.commands import run_process
from support.forges import PREFIX, REPOSITORY, TOKEN, serving_forge


@pytest.mark.parametrize("client", ["curl", "http"])
@pytest.mark.parametrize("kind", ["github", "gitlab", "gitea"])
def test_the_stand_ins_answer_other_clients_as_documented(kind, client):
    with serving_forge(kind) as forge:
        call_as_documented(forge, client)
        assert forge.faults == []


def call_as_documented(forge, client):
    name = {"github": "Authorization: Bearer", "gitlab": "PRIVATE-TOKEN:"}.get(
        forge.kind, "Authorization: token"
    )
    notes = "projects/3/merge_requests/7/notes"
    path = notes if forge.kind == "gitlab" else f"repos/{REPOSITORY}/issues/7/comments"
    header, extra = f"{name} {TOKEN}", "X-GitHub-Api-Version: 2022-11-28"
    program = shutil.which("curl") if client == "curl" else str(Path(sys.executable).with_name("http"))
    if client == "curl":
        common = [program, "--silent", "--include", "--header", header, "--header", extra]
        written = run_process(
            *common,
            "--header",
            "Content-Type: application/json",
            "--data",
            '{"body": "hello"}',
            f"{forge.api}/{path}",
        )
        read = run_process(*common, f"{forge.api}/{path}")
        bare = run_process(program, "--silent", "--include", f"{forge.api}/{path}")
    else:
        split, split_extra = (re.sub(r":\s+", ":", one, count=1) for one in (header, extra))
        common = [program, "--ignore-stdin", "--print=hb", "--pretty=none"]
        written = run_process(*common, "POST", f"{forge.api}/{path}", split, split_extra, "body=hello")
        read = run_process(*common, "GET", f"{forge.api}/{path}", split, split_extra)
        bare = run_process(*common, "GET", f"{forge.api}/{path}")
    assert written.stdout.startswith("HTTP/1.1 201"), written
    assert bare.stdout.startswith("HTTP/1.1 401")
    (found,) = json.loads(read.stdout.replace("\r\n", "\n").partition("\n\n")[2])
    assert found["body"] == "hello"
    assert PREFIX[forge.kind] in forge.api
