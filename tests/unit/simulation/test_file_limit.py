"""Limits that the system sets to simulated nodes."""

import pytest

from reconciler.errors import UsageError
from reconciler.simulation import addresses
from reconciler.simulation.addresses import raise_file_limit


@pytest.mark.parametrize(
    ("hard", "listeners", "soft"),
    [(4096, 9, 1033), (1024, 9, 1024), (1024, 896, 1024), (-1, 2000, 3024)],
)
def test_the_limit_of_open_files_is_raised_as_far_as_the_system_allows(monkeypatch, hard, listeners, soft):
    limits = [256, hard]
    monkeypatch.setattr(addresses.resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(addresses.resource, "setrlimit", lambda _, new: limits.__setitem__(slice(None), new))
    raise_file_limit(listeners)
    assert limits == [soft, hard]


def test_too_few_open_files_are_an_error_before_the_first_listener(monkeypatch):
    monkeypatch.setattr(addresses.resource, "getrlimit", lambda _: (256, 1024))
    with pytest.raises(UsageError, match="1025 open files are needed, the system allows 1024"):
        raise_file_limit(897)
