"""What tests of every store begin with."""

import pytest
from support.stores import KINDS


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def url(kind, tmp_path):
    """Where a store may be made that no other test uses."""
    return kind.url(tmp_path)
