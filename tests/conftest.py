"""Fixtures of every test: golden files, and the switch that writes them anew."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

CASES = Path(__file__).parent / "cases"

# Many tests start the program, and it starts in half the time where its modules are compiled already.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Tables are as wide as the terminal. The tests have none, wherever they run.
os.environ.pop("COLUMNS", None)

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("other", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))  # `other` looks for new examples


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the golden files of tests/cases instead of comparing",
    )


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores: many tests wait for programs that they started."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def _watches_are_found_by_nobody_else(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Watches of this run announce themselves in a folder of it, not to commands of this machine."""
    from reconciler.host import control_socket  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("run")
        patch.setenv(control_socket.VARIABLE, str(folder))
        patch.setattr(control_socket, "RUNTIME", folder / "none/reconciler")
        yield


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares text with a file below tests/cases; `pytest --update-golden` writes the file."""

    def compare(name: str, text: str) -> None:
        path = CASES / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing: write it with pytest --update-golden"
        assert text == path.read_text(encoding="utf-8")

    return compare


def pytest_collection_finish() -> None:
    """Spares the collector of garbage what lives to the end: modules and tests, a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def git_alone(monkeypatch, tmp_path):
    """Without this machine's git configuration, tokens and agents."""
    from support.git_repositories import alone  # noqa: PLC0415

    alone(monkeypatch, tmp_path)


@pytest.fixture
def at(tmp_path):
    """Opens a source, with a cache of the test's own."""
    from reconciler.sources.locate import locate_source  # noqa: PLC0415

    return lambda text, **options: locate_source(str(text), cache=tmp_path / "cache", **options)


@pytest.fixture
def host(tmp_path):
    from support.simulated_nodes import Host  # noqa: PLC0415

    return Host(tmp_path / "state")


@pytest.fixture
async def stage(tmp_path):
    """A repository of two Sora clusters, with their simulated nodes running."""
    from support.watch_process import Stage  # noqa: PLC0415

    async with Stage(tmp_path).nodes() as stage:
        yield stage
