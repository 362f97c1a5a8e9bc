"""What tests of notifications begin with."""

import warnings

import apprise
import pytest


@pytest.fixture(scope="session", autouse=True)
def services():
    """Load the services of Apprise, as its first address does: one uses a deprecated module of Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        apprise.Apprise.instantiate("json://localhost")
