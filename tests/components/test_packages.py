"""The packages as others install them: built, checked, put into empty environments, and used."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARE = {
    "share/man/man1/reconcile.1",
    "share/bash-completion/completions/reconcile",
    "share/zsh/site-functions/_reconcile",
    "share/fish/vendor_completions.d/reconcile.fish",
}

pytestmark = pytest.mark.component("pyproject-build", "twine", "pipx", "uv", "mandoc")


def run(*command, **more):
    """Standard output of a program that succeeds."""
    ended = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=300, **more
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Wheel and sdist, built from a clone: what is not committed is in neither."""
    folder = tmp_path_factory.mktemp("packages")
    run("git", "clone", "--quiet", ROOT, folder / "clone")
    run("pyproject-build", "--installer", "uv", "--outdir", folder / "dist", folder / "clone")
    (wheel,), (sdist,) = (list((folder / "dist").glob(f"*.{end}")) for end in ("whl", "tar.gz"))
    return wheel, sdist


def install(folder, package):
    """The program from a package, in an environment that has nothing else."""
    run("uv", "venv", "--quiet", "--python", sys.executable, folder)
    run("uv", "pip", "install", "--quiet", "--python", folder / "bin/python", package)
    return folder / "bin/reconcile"


def test_the_packages_have_what_belongs_there_and_nothing_else(packages):
    wheel, sdist = packages
    run("twine", "check", "--strict", wheel, sdist)
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        metadata = file.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert "reconciler/py.typed" in names
    assert {re.sub(r"^[^/]*\.data/data/", "", name) for name in names} >= SHARE
    assert {name.split("/")[0] for name in names if ".d" not in name.split("/")[0]} == {"reconciler"}
    assert re.search(r"^License-Expression: Apache-2.0$", metadata, re.MULTILINE)
    with tarfile.open(sdist) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "reconciler/py.typed"} <= inside
    assert not [name for name in inside if name.startswith((".venv", ".git/", "build/"))]


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_program_works_from_an_empty_environment(kind, packages, tmp_path):
    program = install(tmp_path / "env", packages[kind == "sdist"])
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    assert re.search(r"\d+\.\d+\.\d+", run(program, "version", env=environment, cwd=tmp_path))
    assert "applied" in run(program, "demo", env=environment, cwd=tmp_path)
    installed = {str(file.relative_to(tmp_path / "env")) for file in (tmp_path / "env/share").rglob("*")}
    assert installed >= SHARE
    checked = subprocess.run(
        [tmp_path / "env/bin/python", "-c", "import reconciler.api.reader"], check=False, env=environment
    )
    assert checked.returncode == 0


def test_pipx_and_uvx_run_the_wheel(packages, tmp_path):
    wheel, _ = packages
    folders = {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    run("pipx", "install", "--quiet", wheel, env={**os.environ, **folders})
    version = run(tmp_path / "bin/reconcile", "version")
    assert run("uv", "tool", "run", "--from", wheel, "reconcile", "version") == version


def test_the_manual_page_is_right_for_those_who_show_it():
    page = ROOT / "distribution/share/man/man1/reconcile.1"
    told = subprocess.run(
        ["mandoc", "-Tlint", "-W", "warning", page], capture_output=True, text=True, check=False
    )
    # A page that is generated from the program has no date of its own.
    assert [line for line in told.stdout.splitlines() if "missing date" not in line] == []
    shown = re.sub(r".\x08", "", run("mandoc", "-Tutf8", page))  # a letter is printed twice to be bold
    assert re.search(r"^ +reconcile status ", shown, re.MULTILINE), shown[:2000]


def test_shells_read_the_completions():
    share = ROOT / "distribution/share"
    run("bash", "-n", share / "bash-completion/completions/reconcile")
    files = {"zsh": "zsh/site-functions/_reconcile", "fish": "fish/vendor_completions.d/reconcile.fish"}
    for shell, file in files.items():
        assert shutil.which(shell), f"{shell} is not installed"
        run(shell, "-n", share / file)
