"""The address of a PostgreSQL store: no password in it, and what is sent to libpq."""

import pickle
import sys

import pytest

from reconciler.errors import StateError, UsageError
from reconciler.host.database_url import parse_postgres_url
from reconciler.store.factory import (
    back_up_store,
    examine_store,
    has_store,
    open_reader,
    open_store,
    restore_store,
)
from reconciler.store.postgres.access import HostIdentity, PostgresAccess
from reconciler.store.postgres.address import PostgresAddress
from reconciler.store.postgres.connection import PostgresRow, make_postgres_error, number_parameters


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://app:hunter2@db/x", "contains a password"),
        ("postgresql://app:hunter2@a,b/x", "contains a password"),
        ("postgresql://db/x?password=hunter2", "contains a password"),
        ("postgresql://a@hunter2@db/x", "contains a password"),
        ("postgresql://db/x?options=-c%20hunter2", "unknown parameter 'options'"),
        ("postgresql://db/x?passfile=/hunter2", "unknown parameter 'passfile'"),
        ("postgresql://db/x/hunter2", "not a valid URL"),
        ("postgresql://db/x#hunter2", "not a valid URL"),
        ("postgresql://db:hunter2/x", "invalid host or port"),
        ("postgresql://[::1/x", "not a valid URL"),
        ("postgresql://db/x?hunter2", "not a valid URL"),
        ("postgresql://db", "names no database"),
        ("postgresql://", "names no database"),
    ],
)
def test_an_address_that_is_refused_is_not_quoted(url, words):
    with pytest.raises(UsageError, match=words) as caught:
        parse_postgres_url(url)
    assert "hunter2" not in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://app@db:5433/x", {"user": "app", "host": "db", "port": "5433", "dbname": "x"}),
        ("postgresql://db/x%20y", {"host": "db", "dbname": "x y"}),
        ("postgresql://a,b:5433/x", {"host": "a,b", "port": "5432,5433", "dbname": "x"}),
        ("postgresql://[::1]:5433/x", {"host": "::1", "port": "5433", "dbname": "x"}),
        ("postgresql:///x?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "x"}),
        ("postgresql://?service=fleet", {"service": "fleet"}),
        (
            "postgresql://a,b/x?target_session_attrs=read-write&sslmode=verify-full",
            {"host": "a,b", "dbname": "x", "target_session_attrs": "read-write", "sslmode": "verify-full"},
        ),
    ],
)
def test_an_address_becomes_parameters_of_libpq(url, expected):
    found = PostgresAddress(parse_postgres_url(url)).parameters(3)
    assert {key: found[key] for key in expected} == expected
    assert found["connect_timeout"] == 3
    assert ("user" in expected) == ("user" in found)


def test_variables_and_files_of_passwords_are_those_of_the_start(tmp_path):
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    file.chmod(0o600)
    variables = {
        "PGPASSFILE": "/etc/pass",
        "PGSERVICEFILE": "/etc/service",
        "PGSERVICE": "fleet",
        "PGUSER": "no",
    }
    address = PostgresAddress("postgresql://db/x", file, variables)
    found = address.parameters(3)
    assert (found["passfile"], found["servicefile"], found["service"]) == (
        "/etc/pass",
        "/etc/service",
        "fleet",
    )
    assert found["password"] == "hunter2"
    assert "hunter2" not in f"{address} {address!r}"
    file.unlink()
    with pytest.raises(StateError, match=r"the file with the password of the database, .* does not exist"):
        address.parameters(3)


def test_parameters_are_numbered_and_texts_stay():
    assert number_parameters("a = ? AND b = ? AND c = '?' AND \"?\" = 1") == (
        "a = $1 AND b = $2 AND c = '?' AND \"?\" = 1"
    )
    assert number_parameters("?2 IN (0, ?1) AND x = ?2") == "$2 IN (0, $1) AND x = $2"


def test_a_row_is_read_by_name_and_by_place():
    row = PostgresRow({"a": 0, "b": 1}, (1, 2))
    assert (row["b"], row[0], list(row), dict(row)) == (2, 1, [1, 2], {"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("said", "state", "words"),
    [
        ('FATAL:  password authentication failed for user "app"', None, "refuses the login"),
        ('FATAL:  database "x" does not exist', None, "there is no such database"),
        ("connection failed: connection to server at ... refused", None, "cannot be reached"),
        ("could not extend file", "53100", "its disk is full"),
        ("terminating connection due to administrator command", "57P01", "shut down or restarted"),
        ("cannot execute INSERT in a read-only transaction", "25006", "only reads: this server is a standby"),
        ("canceling statement due to lock timeout", "55P03", "another host kept it locked"),
        ("server closed the connection unexpectedly", None, "the connection to it was lost"),
        ("something new", "99999", "cannot be used: something new"),
    ],
)
def test_errors_are_told_in_plain_words(said, state, words):
    error = Exception(said)
    error.sqlstate = state
    found = make_postgres_error(PostgresAddress("postgresql://app@db/x?sslmode=require"), error)
    assert found.message.startswith("the database postgresql://app@db/x: ")
    assert words in found.message
    assert found.remedy


def test_a_missing_library_is_named_with_its_extra(monkeypatch, tmp_path):
    for module in [name for name in sys.modules if name.partition(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    access = PostgresAccess(PostgresAddress("postgresql://db/x"), tmp_path / "key", HostIdentity("a"))
    for ask in (open_store, open_reader, has_store):
        with pytest.raises(UsageError, match="PostgreSQL stores need a library") as caught:
            ask(access)
        assert "pip install 'fleet-reconciler[postgres]'" in caught.value.remedy


def test_an_access_can_be_handed_to_another_process(tmp_path):
    address = PostgresAddress("postgresql://db/x", tmp_path / "password", {"PGPASSFILE": "/p"})
    access = PostgresAccess(address, tmp_path / "key", HostIdentity("a", {"networks": "1"}), 5.0)
    assert pickle.loads(pickle.dumps(access)) == access


def test_copies_of_a_database_are_left_to_its_own_tools(tmp_path):
    access = PostgresAccess(PostgresAddress("postgresql://db/x"), tmp_path / "key", HostIdentity("a"))
    for work in (
        lambda: back_up_store(access, tmp_path / "backup"),
        lambda: examine_store(access),
        lambda: restore_store(access, tmp_path / "backup", prepare=lambda _: None),
    ):
        with pytest.raises(UsageError, match="whose own tools copy it") as caught:
            work()
        assert "pg_dump" in caught.value.remedy
