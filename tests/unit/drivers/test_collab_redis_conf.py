"""Keys of a redis.conf: read as Redis reads them, written so that it reads them back, the rest untouched."""

import time
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core.secret import Secret
from reconciler.drivers.collab.redis_conf import (
    FileLogin,
    RedisConf,
    read_file_login,
    read_file_password,
    read_redis_values,
    split_arguments,
    write_directive,
)
from reconciler.drivers.collab.simulator.loaded_files import read_redis_file
from reconciler.file_delivery.content import UnfitFile

FILE = b"""# Redis of people \xe9
bind 127.0.0.1
  PORT\t6379
requirepass old
maxmemory 100mb
save 900 1
save 300 10
"""


def digest(password):
    return sha256(password.encode()).hexdigest()


def test_only_our_lines_change():
    conf = RedisConf({"bind": "127.0.0.1 192.0.2.20", "port": 6379, "requirepass": "new one"})
    rendered = conf.render(FILE)
    assert rendered == FILE.replace(b"127.0.0.1", b"127.0.0.1 192.0.2.20").replace(b" old", b' "new one"')
    assert conf.render(rendered) == rendered
    assert conf.find_changes(rendered, "redis") == ()


def test_a_missing_file_is_made_and_new_keys_come_last():
    conf = RedisConf({"bind": "0.0.0.0", "protected-mode": False})
    assert conf.render(None) == conf.render(b"") == b"bind 0.0.0.0\nprotected-mode no\n"
    assert conf.render(b"port 1") == b"port 1\nbind 0.0.0.0\nprotected-mode no\n"
    assert conf.render(b"port 1\r\n") == b"port 1\r\nbind 0.0.0.0\r\nprotected-mode no\r\n"


def test_of_repeated_lines_the_last_one_counts_and_stays():
    text = b"bind 10.0.0.1\n# x\nbind 10.0.0.2\nport 1\n"
    assert RedisConf({"bind": "10.0.0.2"}).render(text) == b"# x\nbind 10.0.0.2\nport 1\n"
    assert RedisConf({"save": "3600 1"}).render(FILE).count(b"save") == 1


@pytest.mark.parametrize(
    ("value", "is_same"),
    [("900 1 300 10", True), ("900 1", False), ("", False), ("300 10 900 1", False)],
)
def test_lines_of_save_add_up(value, is_same):
    conf = RedisConf({"save": value})
    rendered = conf.render(FILE)
    assert (rendered == FILE) == is_same
    assert bool(conf.find_changes(FILE, "redis")) != is_same
    assert conf.render(rendered) == rendered
    assert conf.find_changes(rendered, "redis") == ()
    assert RedisConf({"save": "1 2"}).find_changes(b'save 900 1\nsave ""\nsave 1 2\n', "redis") == ()


def test_a_line_before_an_include_does_not_count():
    text = b"bind 10.0.0.1\ninclude /etc/other.conf\nport 1\n"
    rendered = RedisConf({"bind": "10.0.0.1"}).render(text)
    assert rendered == b"include /etc/other.conf\nport 1\nbind 10.0.0.1\n"
    assert RedisConf({"bind": "10.0.0.1"}).render(rendered) == rendered


def test_a_key_that_must_not_be_there_goes():
    conf = RedisConf({"requirepass": None, "port": 6379})
    rendered = conf.render(FILE + b"user default on #" + digest("x").encode() + b" ~* &* +@all\n")
    assert b"requirepass" not in rendered
    assert b"user" not in rendered
    assert read_file_login(rendered).is_open


@pytest.mark.parametrize("key", ["include", "user", "loadmodule", "rename-command"])
def test_a_directive_whose_lines_add_up_is_no_key(key):
    with pytest.raises(UnfitFile, match=f"cannot have {key} as a key"):
        RedisConf({key: "x"}).render(FILE)


@pytest.mark.parametrize("switch", ["yes", "YES", '"yes"'])
def test_a_switch_is_the_same_in_any_case(switch):
    text = f"protected-mode {switch}\n".encode()
    assert RedisConf({"protected-mode": "yes"}).render(text) == text
    assert RedisConf({"protected-mode": True}).render(text) == text


# --- The line that outweighs `requirepass`.

OLD, NEW = digest("old").encode(), digest("new").encode()


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (b"user default on #%b ~* &* +@all\n" % OLD, b""),
        (b"user default on #%b #%b ~* &* +@all\n" % (OLD, NEW), b""),
        (b"user default on sanitize-payload #%b ~* &* +@all\r\n" % OLD, b""),
        (b"USER default on nopass ~* &* +@all\n", b""),
        (b"user default off #%b ~* &* +@all\n" % NEW, b""),
        (b"user default on >old ~* +@all\n", b""),
        (b"user default on #%b ~* &* +@all\n" % NEW, b"user default on #%b ~* &* +@all\n" % NEW),
        (b"user default on >new ~* +@all\n", b"user default on >new ~* +@all\n"),
        (b"user default on #%b ~app:* -@all +get\n" % OLD, b"user default on #%b ~app:* -@all +get\n" % NEW),
        (b"user other on nopass ~* +@all\n", b"user other on nopass ~* +@all\n"),
    ],
)
def test_the_line_of_the_default_user_lets_in_the_desired_password_alone(user, expected):
    conf = RedisConf({"requirepass": Secret("new", "${env:P}")})
    rendered = conf.render(b"requirepass new\n" + user)
    assert rendered == b"requirepass new\n" + expected
    assert read_file_login(rendered) == FileLogin(frozenset({digest("new")}), is_open=False)
    assert conf.render(rendered) == rendered
    changes = conf.find_changes(b"requirepass new\n" + user, "redis")
    assert bool(changes) == (user != expected)
    assert OLD.decode() not in repr(changes)
    assert (conf.redact(b"requirepass new\n" + user) == conf.redact(rendered)) == (user == expected)


def test_without_a_desired_password_the_user_is_left_alone():
    text = b"port 6379\nuser default on #%b ~* &* +@all\n" % OLD
    assert RedisConf({"port": 6379}).render(text) == text
    unknown = Secret("", "${env:P}", missing="not set")
    assert (
        RedisConf({"requirepass": unknown}).render(b"requirepass old\n" + text) == b"requirepass old\n" + text
    )


@pytest.mark.parametrize(
    ("text", "login"),
    [
        (b"", FileLogin()),
        (b"requirepass ''\n", FileLogin()),
        (b"requirepass a\nrequirepass b\n", FileLogin(frozenset({digest("b")}), is_open=False)),
        (b"requirepass a\nuser default on nopass\n", FileLogin(frozenset(), is_open=True)),
        (b"user default off nopass\n", FileLogin(frozenset(), is_open=False)),
        (b"user default on >a <a >b resetpass >c\n", FileLogin(frozenset({digest("c")}), is_open=False)),
    ],
)
def test_who_is_let_in_after_the_next_start(text, login):
    assert read_file_login(text) == login


# --- Quotes and escapes.


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('a "b c" d', ("a", "b c", "d")),
        (r'a "\x41\n\"\\\q"', ("a", 'A\n"\\q')),
        (r"a 'b\'c\n'", ("a", "b'c\\n")),
        ('a b"c d"', ("a", "bc d")),
        ('a ""', ("a", "")),
        (r'a "\xc3\xa4"', ("a", "ä")),
        ('a "b"c', None),
        ('a "b', None),
        ("a 'b\\'", None),
        ('a "b\\', None),
        ("   ", ()),
    ],
)
def test_a_line_is_split_as_redis_splits_it(line, words):
    assert split_arguments(line) == words


@given(st.lists(st.text(max_size=12).filter(lambda text: "\0" not in text), max_size=4))
@example(["#x", "a\x0bb", "'", '"', "\\", "", " ", "ä", "\x7f", "\x85"])
def test_what_is_written_is_read_back(words):
    words = [word for word in words if word.isprintable() or word.isascii()]
    line = write_directive("key", words)
    assert "\n" not in line
    assert "\r" not in line
    assert split_arguments(line) == ("key", *words)


@given(
    st.lists(
        st.sampled_from(
            [
                "# c",
                "",
                "port 1",
                "PORT 2",
                "bind a b",
                'requirepass "x y"',
                "include f",
                "maxmemory 1mb",
                "\tsave 1 2 ",
            ]
        ),
        max_size=8,
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.dictionaries(
        st.sampled_from(["port", "bind", "requirepass", "dir", "save"]),
        st.one_of(st.none(), st.sampled_from(["1", "x y", "'", "a b c", 7])),
        max_size=4,
    ),
)
def test_a_second_time_changes_nothing_and_other_lines_stay(lines, end, values):
    text = "".join(f"{line}{end}" for line in lines).encode()
    conf = RedisConf(values)
    rendered = conf.render(text)
    assert conf.render(rendered) == rendered
    assert conf.find_changes(rendered, "redis") == ()
    others = [line for line in lines if line.split(" ")[0].strip().lower() not in values]
    kept = [line for line in rendered.decode().split(end) if line.split(" ")[0].strip().lower() not in values]
    assert [line for line in kept if line] == [line for line in others if line]
    found = read_redis_values(rendered)
    for key, value in values.items():
        assert found.get(key) == (None if value is None else str(value))


def test_the_simulated_redis_reads_it_in_the_same_way():
    for password in ("a b", 'q"', "b\\s", "tab\t", "'x'"):
        rendered = RedisConf({"requirepass": password, "bind": "10.0.0.1 ::1"}).render(
            FILE.replace(b"\xe9", b"")
        )
        loaded = read_redis_file(rendered, "h")
        assert loaded.passwords == {digest(password)}
        assert loaded.bind == ("10.0.0.1", "::1")
        assert read_file_password(rendered) == password


# --- Hostile files and secrets.


@pytest.mark.parametrize("line", ['requirepass "x', "bind 'a", 'dir "a"b', "port 1\0", '"'])
def test_a_file_with_which_redis_would_not_start_is_told_with_its_line(line):
    text = f"# c\n{line}\n".encode()
    for call in (RedisConf({"port": 1}).render, read_file_login, read_file_password, read_redis_values):
        with pytest.raises(UnfitFile, match="at line 2"):
            call(text)


def test_a_large_file_is_refused_and_a_long_one_is_quick():
    with pytest.raises(UnfitFile, match="more than"):
        RedisConf({"port": 1}).render(b"#" * 2_000_000)
    begin = time.perf_counter()
    RedisConf({"port": 1}).render(b"bind a\n" * 100_000)
    RedisConf({"port": 1}).render(b"bind " + b"a " * 400_000 + b"\n")
    with pytest.raises(UnfitFile):
        RedisConf({"port": 1}).render(b'bind "' + b"\\" * 900_001 + b"\n")
    assert time.perf_counter() - begin < 6


@given(st.binary(max_size=80))
def test_whatever_the_file_has_it_is_kept_or_refused(text):
    try:
        rendered = RedisConf({}).render(text)
    except UnfitFile:
        return
    assert rendered == text


def test_no_secret_is_shown():
    conf = RedisConf({"requirepass": Secret("neu1", "${env:P}"), "masterauth": "neu2", "port": 2})
    text = b"requirepass alt1\nmasterauth alt2\nport 1\nuser default on >alt3 ~* +@all\nother alt4\n"
    shown = f"{conf!r} {conf.find_changes(text, 'redis')!r} {conf.redact(text)!r} {read_file_login(text)!r}"
    assert not [
        word for word in ("neu1", "neu2", "alt1", "alt2", "alt3", "alt4", digest("alt3")) if word in shown
    ]
    assert "'port': '1'" in repr(conf.redact(text))
