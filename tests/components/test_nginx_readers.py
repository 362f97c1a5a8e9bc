"""nginx itself judges strange files, before and after the program has written into them."""

import subprocess

import pytest
from support.nginx_files import INVALID, UPSTREAM, VALID

from reconciler.drivers.collab.nginx_span import NginxSpan

pytestmark = pytest.mark.component("nginx")

SPAN = NginxSpan(upstream=UPSTREAM, servers=("192.0.2.1:3000", "192.0.2.3:3000"), marker="m")


def check(folder, content):
    """What `nginx -t` says against a file; empty if it accepts it."""
    file = folder / "nginx.conf"
    file.write_bytes(content)
    places = ["-p", str(folder), "-e", str(folder / "log"), "-g", f"pid {folder / 'pid'};"]
    done = subprocess.run(
        ["nginx", "-t", "-q", *places, "-c", str(file)], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stderr


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", VALID)
def test_nginx_accepts_the_file_and_what_is_made_of_it(folder, name):
    content = VALID[name].encode()
    assert check(folder, content) == ""
    assert check(folder, SPAN.render(content)) == ""


@pytest.mark.parametrize("name", INVALID)
def test_nginx_refuses_the_file(folder, name):
    assert "[emerg]" in check(folder, INVALID[name].encode())
