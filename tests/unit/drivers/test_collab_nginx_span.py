"""The cluster's part of an nginx file: ours is as desired, and all that people wrote stays byte by byte."""

import time
from contextlib import suppress

import crossplane
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers.collab.nginx_span import NginxSpan, read_marker, read_scheme, read_servers
from reconciler.drivers.collab.nginx_text import parse_nginx_file, parse_text, quote_word
from reconciler.drivers.collab.simulator.nginx_file import read_nginx_file
from reconciler.file_delivery.content import UnfitFile

SPAN = NginxSpan(upstream="collabServer", servers=("c1:3000", "c2:3000"), marker="a1b2")

PEOPLE = """# people's own \xe9
worker_processes  auto;   events { worker_connections 100; }
http {
    include       /etc/nginx/mime.types;
    map $http_upgrade $x { default "a;b{"; '' close; }
    upstream collabServer {
      ip_hash;             # this is a must
      server c1:3000;    # provide the list from here
      server c3:3000 weight=2;  # old
      keepalive 8;
    }

    server {
        listen 8080;
        location ~ "^/x{1,2}$" { return 200 'it;s {'; }
        location /socket.io/ {                    # API Pattern for socket.io handshake
            proxy_http_version 1.1;                # Required
            proxy_set_header Upgrade $http_upgrade;     # hop by hop
            proxy_set_header Connection "upgrade";      # another
            proxy_read_timeout 1h;
            proxy_pass http://collabServer/socket.io/;      # Directs
        }

        location /status {                    # forward
            proxy_pass http://collabServer/status;
        }
    }
    server { listen 9090; location /status { stub_status; } }
}
""".encode("latin-1")


def render(text, span=SPAN):
    rendered = span.render(text)
    assert span.render(rendered) == rendered
    assert span.find_changes(rendered, "nginx") == ()
    assert bool(span.find_changes(text, "nginx")) == (rendered != text)
    assert (span.redact(text) == span.redact(rendered)) == (rendered == text)
    assert read_servers(rendered, span.upstream) == tuple(
        sorted(span.servers, key=read_servers(rendered, span.upstream).index)
    )
    assert read_marker(rendered) == span.marker
    return rendered


def test_only_what_differs_of_ours_changes():
    expected = PEOPLE.replace(
        b"      server c3:3000 weight=2;  # old\n      keepalive 8;\n",
        b"      # old\n      keepalive 8;\n      server c2:3000;\n",
    ).replace(
        b"            proxy_pass http://collabServer/status;\n",
        b"            proxy_pass http://collabServer/status;\n"
        b"            add_header X-Reconcile-Upstream a1b2 always;\n",
    )
    assert render(PEOPLE) == expected


def test_windows_line_ends_stay():
    text = PEOPLE.replace(b"\n", b"\r\n")
    rendered = render(text)
    assert rendered == render(PEOPLE).replace(b"\n", b"\r\n")


def test_wrong_directives_of_ours_are_corrected_where_they_stand():
    text = PEOPLE.replace(b"proxy_http_version 1.1;", b"proxy_http_version 1.0;")
    text = text.replace(
        b'Connection "upgrade";', b"connection close; proxy_set_header Connection keep-alive;"
    )
    text = text.replace(b"ip_hash;", b"least_conn;")
    rendered = render(text)
    assert b"            proxy_http_version 1.1;                # Required\n" in rendered
    assert b'            proxy_set_header Connection "upgrade";      # another\n' in rendered
    assert b"keep-alive" not in rendered
    assert b"least_conn" not in rendered
    assert rendered.count(b"ip_hash") == 1
    assert b"# this is a must" in rendered


def test_parameters_of_a_server_stay_but_those_that_leave_it_without_clients():
    text = PEOPLE.replace(b"server c1:3000;", b"server c1:3000 max_fails=3 down;")
    assert read_servers(text, "collabServer") == ("c3:3000",)
    assert b"server c1:3000 max_fails=3;    # provide" in render(text)


def test_blocks_on_one_line():
    text = (
        b"events{}http{upstream collabServer{server c9:3000;}server{listen 80;location /socket.io/"
        b"{proxy_pass http://collabServer/socket.io/;}}}"
    )
    rendered = render(text)
    assert b"\n" not in rendered
    assert b"c9" not in rendered


def test_what_is_missing_is_put_into_the_only_server():
    text = b"events {}\nhttp {\n  server {\n    listen 80;\n    root /srv;  # ours\n  }\n}\n"
    assert render(text) == (
        b"events {}\nhttp {\n"
        b"  upstream collabServer {\n      ip_hash;\n      server c1:3000;\n      server c2:3000;\n  }\n"
        b"  server {\n    listen 80;\n    root /srv;  # ours\n"
        b"    location /socket.io/ {\n      proxy_http_version 1.1;\n"
        b"      proxy_set_header Upgrade $http_upgrade;\n"
        b'      proxy_set_header Connection "upgrade";\n'
        b"      proxy_pass http://collabServer/socket.io/;\n    }\n"
        b"    location /status {\n      proxy_pass http://collabServer/status;\n"
        b"      add_header X-Reconcile-Upstream a1b2 always;\n    }\n"
        b"  }\n}\n"
    )
    assert render(b"server {\n  listen 80;\n}\n").startswith(b"upstream collabServer {\n    ip_hash;")


def test_two_servers_that_both_have_ours_are_both_kept():
    one = b"server { listen %d; location /socket.io/ { proxy_pass http://collabServer/socket.io/; } }\n"
    rendered = render(one % 80 + one % 81)
    assert rendered.count(b"$http_upgrade") == 2
    assert rendered.count(b"a1b2") == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "does not exist or is empty; write a `server` block"),
        (b" \n", "does not exist or is empty"),
        (b"events {}\nhttp {\n}\n", "has no `server` block; write one, and in it `location /socket.io/ {"),
        (b"http { server {} server {} }", "several `server` blocks .* in lines 1, 1; write into one"),
        (b"include sites/*;\nserver {}\n", r"which may be in what it includes \(sites/\*\)"),
        (PEOPLE.replace(b"location /socket.io/", b"location /other/"), "several `server` blocks"),
        (PEOPLE + PEOPLE, "`upstream collabServer` more than once, in lines 6, 35"),
        (b"server { location /socket.io/ { return 404; } }", "in line 1 that passes nothing on"),
        (b"server { location /status { stub_status; } }", "`location /status` in line 1 that passes nothing"),
        (
            b"server { location /status { proxy_pass http://a; } location = /status { return 1; } }",
            "`location /status` more than once in one server",
        ),
        (b"http {\n  server {\n", "line 2: the block of `server` has no end"),
        (b"http { } }", "line 1: unexpected `}`"),
        (b'a;\nb "x;\n', "line 2: a quote is not closed"),
        (b'b "x"y;\n', "line 1: a quoted word is not followed"),
        (b"a;\nb c\n", "line 2: `b` has no `;`"),
        (b"{ }", "unexpected `{`"),
        (b"a b }", "unexpected `}`"),
        (b"http { access_by_lua_block { x } }", "the Lua code of `access_by_lua_block`"),
        (b"a {" * 100 + b"}" * 100, "more than 50 blocks"),
        (b"#" * 2_000_000, "has 2000000 bytes, and only files of up to 262144 are read; move what"),
    ],
)
def test_what_cannot_be_changed_is_refused_with_what_to_write(text, words):
    with pytest.raises(UnfitFile, match=words):
        SPAN.render(text)


def test_hostile_files_are_read_in_bounded_time():
    begin = time.perf_counter()
    for text in (
        b"a;" * 130_000,
        b'"' * 260_000,
        b"\\" * 259_999,
        b"a{" * 40 + b"b c;" * 60_000,
        b"${" * 130_000,
    ):
        with suppress(UnfitFile):
            SPAN.render(text)
    assert time.perf_counter() - begin < 20


def test_secrets_of_people_on_changed_lines_are_not_shown():
    text = PEOPLE.replace(b"server c3:3000 weight=2;  # old", b"server c3:3000; # password=hunter22")
    assert "hunter22" not in repr(SPAN.find_changes(text, "nginx"))


def test_the_simulated_nginx_loads_it():
    loaded = read_nginx_file(render(PEOPLE).decode("latin-1").replace("\xe9", "").encode(), "collabServer")
    assert "c2:3000" in repr(loaded)
    assert "c3:3000" not in repr(loaded)


# --- The reader, against the library that nginx itself is compared with.


def to_tree(block):
    return [(one.words[0], list(one.words[1:]), to_tree(one) if one.body else None) for one in block.children]


def crossplane_tree(block):
    return [
        (one["directive"], one["args"], crossplane_tree(one["block"]) if "block" in one else None)
        for one in block
        if one["directive"] != "#"
    ]


def read_by_crossplane(text, tmp_path):
    file = tmp_path / "nginx.conf"
    file.write_bytes(text)
    found = crossplane.parse(str(file), single=True, strict=False, check_ctx=False, check_args=False)
    assert found["status"] == "ok", found["errors"]
    return crossplane_tree(found["config"][0]["parsed"])


@pytest.mark.parametrize("text", [PEOPLE.replace(b"\xe9", b""), render(PEOPLE).replace(b"\xe9", b"")])
def test_crossplane_reads_the_same(text, tmp_path):
    assert to_tree(parse_nginx_file(text)[1]) == read_by_crossplane(text, tmp_path)


WORDS = st.sampled_from(
    ["a", "1.1", "$http_upgrade", "a b", "it's", 'q"', "{", "}", ";", "#x", "", "${x}y", "ä", "b\\s"]
)


@given(st.lists(WORDS, max_size=4))
def test_a_word_that_is_written_is_read_back(words):
    text = f"name {' '.join(map(quote_word, words))};"
    assert parse_text(text).children[0].words == ("name", *words)


OTHERS = [
    "# c",
    "",
    "gzip on;",
    "client_max_body_size 1m; # x",
    'add_header A "b;c";',
    "if ($x) { return 404; }",
]
STATUS_LINES = [
    "proxy_pass http://collabServer/status;",
    "add_header X-Reconcile-Upstream old always;",
    *OTHERS,
]
SERVER_LINES = [
    "server c1:3000;",
    "server c2:3000 weight=2;",
    "server c4:3000;",
    "ip_hash;",
    "zone z 64k;",
    "# s",
]


def test_servers_with_tls_are_reached_by_https_and_the_way_there_is_shown():
    text = f"http {{ server {{\n{chr(10).join(OTHERS)}\n}} }}".encode()
    plain = NginxSpan(upstream="collabServer", servers=("c1:3000",), marker="m")
    with_tls = NginxSpan(upstream="collabServer", servers=("c1:3000",), marker="m", scheme="https")
    before = plain.render(text)
    after = with_tls.render(before)
    assert after == before.replace(b"http://collab", b"https://collab")
    assert plain.render(after) == before
    assert [read_scheme(one, "collabServer") for one in (text, before, after)] == ["", "http", "https"]
    shown = repr(with_tls.find_changes(before, "nginx"))
    assert "proxy_pass https://collabServer/status;" in shown
    secret = before.replace(b"http://collabServer/status;", b"http://u:geheim-1@other/;")
    assert "geheim" not in repr(plain.find_changes(secret, "nginx"))


@given(
    st.lists(st.sampled_from(SERVER_LINES), max_size=5),
    st.lists(st.sampled_from(OTHERS), max_size=3),
    st.lists(st.sampled_from(STATUS_LINES), max_size=4, unique=True),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.sampled_from(["c1:3000", "c2:3000", "c3:3000", "[::1]:3000"]), min_size=1, unique=True),
)
def test_in_files_of_every_kind_ours_is_right_and_others_stay(upstream, others, status, end, servers):
    lines = [
        "http {",
        *(["upstream collabServer {", *upstream, "}"] if upstream else []),
        "server {",
        *others,
        "location /socket.io/ { proxy_pass http://collabServer/socket.io/; }",
        *(
            ["location /status {", "proxy_pass http://collabServer/status;", *status[1:], "}"]
            if status
            else []
        ),
        "}",
        "}",
        "",
    ]
    span = NginxSpan(upstream="collabServer", servers=tuple(servers), marker="m")
    text = end.join(lines).encode()
    rendered = span.render(text)
    assert span.render(rendered) == rendered
    assert sorted(read_servers(rendered, "collabServer")) == sorted(servers)
    assert read_marker(rendered) == "m"
    left = rendered.decode().split(end)
    for line in others:
        assert left.count(line) >= others.count(line) - 1
    assert rendered.count(b"# s") == upstream.count("# s")
    loaded = read_nginx_file(b"events {}\n" + rendered, "collabServer")
    assert all(one in repr(loaded) for one in servers)
