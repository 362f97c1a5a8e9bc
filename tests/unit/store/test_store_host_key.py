"""Private data of the journal: encrypted with a key in a file next to the database."""

import stat

import pytest

from reconciler.core.canonical import fingerprint_with_key
from reconciler.errors import StateError
from reconciler.store.factory import open_store
from reconciler.store.sql import KEY as FILE
from reconciler.store.sql.host_key import HostKey


def test_a_key_is_made_once_for_its_owner_alone_and_opens_what_it_sealed(tmp_path):
    sealed = HostKey(tmp_path).encrypt(b"a fingerprint")
    assert b"fingerprint" not in sealed
    assert HostKey(tmp_path).decrypt(sealed) == b"a fingerprint"
    assert HostKey(tmp_path).secret() == HostKey(tmp_path).secret()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_without_its_key_or_with_another_one_nothing_is_opened(tmp_path):
    sealed = HostKey(tmp_path).encrypt(b"x")
    (tmp_path / FILE).unlink()
    assert HostKey(tmp_path).decrypt(sealed) is None
    HostKey(tmp_path).encrypt(b"y")
    assert HostKey(tmp_path).decrypt(sealed) is None


@pytest.mark.parametrize("text", ["", "AGE-SECRET-KEY-1NONE\n"])
def test_a_damaged_key_is_an_error_that_says_what_helps(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StateError, match="cannot be read") as raised:
        HostKey(tmp_path).encrypt(b"x")
    assert "restore it" in raised.value.remedy


async def test_what_a_store_remembers_of_contents_is_keyed_with_the_key_of_its_host(tmp_path):
    keys = []
    for name in ("one", "two", "one"):
        with open_store(tmp_path / name) as store:
            keys.append((await store.read_memory()).key)
    assert keys[0] == keys[2] != keys[1]
    assert fingerprint_with_key(keys[0], "print") != fingerprint_with_key(keys[1], "print")
    assert fingerprint_with_key(b"", "print") == "print"
