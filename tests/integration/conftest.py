"""Fixtures that several of these tests share."""

import pytest
from support.git_repositories import alone


@pytest.fixture
def git_alone(monkeypatch, tmp_path):
    """Without this machine's git configuration, tokens and agents."""
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
