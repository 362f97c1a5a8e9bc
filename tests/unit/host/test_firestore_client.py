import json
import sys

import pytest
from pydantic import ValidationError

from reconciler.errors import UsageError
from reconciler.host.firestore_client import open_firestore
from reconciler.host.firestore_config import FirestoreProject


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"credentials": "/key.json", "emulator": "127.0.0.1:1"},
        {"emulator": "127.0.0.1"},
        {"credentials": "key.json"},
        {"credentials": "/proc/self/environ"},
        {"project": "UPPER", "emulator": "127.0.0.1:1"},
        {"project": "a/b", "emulator": "127.0.0.1:1"},
        {"database": "../x", "emulator": "127.0.0.1:1"},
    ],
)
def test_an_entry_names_one_project_and_one_login(wrong):
    with pytest.raises(ValidationError):
        FirestoreProject(**{"project": "m2live-prod", **wrong})


def test_a_missing_library_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.cloud.firestore", None)
    entry = FirestoreProject(project="m2live-prod", emulator="127.0.0.1:1")
    with pytest.raises(UsageError) as caught:
        open_firestore("m2live", entry, {})
    assert caught.value.remedy == "install it: `pip install 'fleet-reconciler[firestore]'`"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ("not json", "is not the key of a service account"),
        ('{"type": "service_account"}', "is not the key of a service account"),
        (json.dumps({"type": "external_account", "secret": "s3cret"}), "is not the key of a service account"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_named_without_its_content(tmp_path, monkeypatch, content, words):
    def refuse(_):
        raise ValueError("s3cret")

    service = type(
        "service_account", (), {"Credentials": type("C", (), {"from_service_account_info": refuse})}
    )
    monkeypatch.setattr("reconciler.host.firestore_client.import_extra", lambda *_: service)
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content)
        file.chmod(0o600)
    entry = FirestoreProject(project="m2live-prod", credentials="$CREDENTIALS_DIRECTORY/key.json")
    with pytest.raises(UsageError) as caught:
        open_firestore("m2live", entry, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert words in caught.value.message
    assert "`firestore.m2live.credentials`" in caught.value.message
    assert "s3cret" not in str(caught.value)
    with pytest.raises(UsageError, match="no credentials folder"):
        open_firestore("m2live", entry, {})
