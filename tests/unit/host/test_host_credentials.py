"""Credentials of the program: from a variable, or from a file that is read safely and at every use."""

import os

import pytest

from reconciler.errors import UsageError
from reconciler.host.credentials import GIT_TOKEN, WEBHOOK_SECRET, list_known_credentials, read_credential
from reconciler.sources.source_address import read_token

FILE = f"{GIT_TOKEN}_FILE"


def test_a_credential_from_a_variable_or_from_a_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text("from-file\n")
    assert read_credential({}, GIT_TOKEN) == ""
    assert read_credential({GIT_TOKEN: "from-env"}, GIT_TOKEN) == "from-env"
    assert read_credential({FILE: str(path)}, GIT_TOKEN) == "from-file"
    path.write_text("renewed")
    assert read_credential({FILE: str(path)}, GIT_TOKEN) == "renewed"
    assert read_token({FILE: str(path)}, GIT_TOKEN) == "renewed"


def test_two_credentials_an_empty_one_or_a_file_that_cannot_be_read_are_refused(tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("\n")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="both"):
        read_credential({GIT_TOKEN: "a", FILE: str(empty)}, GIT_TOKEN)
    for name, words in (
        ("empty", "is empty"),
        ("none", "does not exist"),
        ("fifo", "regular"),
        ("binary", "UTF-8"),
    ):
        with pytest.raises(UsageError, match=f"{FILE}.*{words}"):
            read_credential({FILE: str(tmp_path / name)}, GIT_TOKEN)


def test_every_readable_credential_is_masked_in_the_log(tmp_path):
    (tmp_path / "token").write_text("from-file")
    environment = {FILE: str(tmp_path / "token"), WEBHOOK_SECRET: "shared", "OTHER": "plain value"}
    environment |= {"RECONCILE_SECRET_A": "of-a-node", "RECONCILE_SECRET_B": "short", "OWN_A": "of-another"}
    assert sorted(list_known_credentials(environment)) == ["from-file", "of-a-node", "shared"]
    assert sorted(list_known_credentials(environment, "OWN_")) == ["from-file", "of-another", "shared"]
    assert list_known_credentials({FILE: str(tmp_path / "gone")}) == []
