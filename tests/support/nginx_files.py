"""nginx files of people: strange ones that nginx accepts, and ones that it refuses, each with why."""

from __future__ import annotations

UPSTREAM = "collabServer"

_SITE = """
    upstream collabServer { ip_hash; server 192.0.2.1:3000; server 192.0.2.2:3000; }
    server {
        listen 127.0.0.1:18080;
        location /socket.io/ {
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_pass http://collabServer/socket.io/;
        }
        location /status { proxy_pass http://collabServer/status; }
        @SERVER@
    }
"""


def _make(http: str = "", server: str = "", site: str = _SITE, top: str = "events { }") -> str:
    return f"{top}\nhttp {{\n{http}\n{site.replace('@SERVER@', server)}\n}}\n"


VALID = {
    "as the documents show it": _make(),
    "on one line": " ".join(_make().split()),
    "without a line end": _make().rstrip("\n"),
    "with line ends of Windows": _make().replace("\n", "\r\n"),
    "with tabs": _make().replace("    ", "\t"),
    "without spaces around braces": _make().replace(" {", "{").replace("{ ", "{").replace("; }", ";}"),
    "names in quotes": _make().replace("upstream collabServer", "\"upstream\" 'collabServer'"),
    "arguments in quotes": _make()
    .replace("server 192.0.2.1:3000;", "'server' \"192.0.2.1:3000\" ;")
    .replace("Upgrade $http_upgrade", "\"Upgrade\" '$http_upgrade'"),
    "comments between words": _make()
    .replace("upstream collabServer {", "upstream # of the servers; {\n collabServer # }\n # {\n {")
    .replace("proxy_http_version 1.1;", "proxy_http_version # one\n\n1.1 # }\n;"),
    "parameters of servers": _make().replace(
        "server 192.0.2.1:3000;", "server 192.0.2.1:3000 max_fails=3 fail_timeout=30s weight=2;"
    ),
    "a server that is down": _make().replace("server 192.0.2.2:3000;", "server 192.0.2.2:3000 down;"),
    "braces in quotes": _make(
        server='add_header X "a;b{c}#d" always; location ~ "^/x{2,3}$" { return 200; }'
    ),
    "an expression with everything": _make(
        server='if ($http_user_agent ~* "(bot|spider);{1}") { return 403; }'
    ),
    "a quote before a bracket": _make(server='if ($host = "a.example") { return 404; }'),
    "escapes in words": _make(
        server=r"location ~ \.(php|cgi)$ { return 404; } location ~ ^/a\ b$ { return 404; }"
    ),
    "escapes in quotes": _make(server=r'add_header X "a \"b\" \\ c\td"; add_header Y ' + "'it\\'s';"),
    "a brace within a word": _make(server="set $x a}b;"),
    "white space that parts no words": _make(server="add_header X a\vb\fc\u00a0d;"),
    "a hash within a word": _make(server="rewrite ^/a$ /b#c permanent;"),
    "variables in braces": _make(server='set $x ${host}y; set $z $x; add_header Z "${x}-{$z}";'),
    "a dollar at the end": _make(server="location ~ ^/$ { return 200; } location = /x$ { return 200; }"),
    "locations of every kind": _make(
        server="location = /health { return 200; } location ^~ /static/ { root /srv; } "
        "location @named { return 204; } location ~* \\.png$ { expires 1d; } "
        "location /a/ { location /a/b/ { return 200; } }"
    ),
    "a map": _make("map $http_upgrade $connection_upgrade { default upgrade; '' close; ~^web(?<x>.*)$ $x; }"),
    "blocks whose lines are no directives": _make(
        "types { text/html html htm; } geo $far { default 0; 10.0.0.0/8 1; } "
        'split_clients "${remote_addr}x" $arm { 50% a; * b; }'
    ),
    "a format on several lines": _make(
        "log_format main '$remote_addr - [$time_local] \"$request\" '\n"
        "                '$status \"$http_referer\"';\n    access_log off;"
    ),
    "a word on several lines": _make(server='add_header X "one\n   two" always;'),
    "other upstreams": _make("upstream other { least_conn; server 192.0.2.9:80; keepalive 8; }"),
    "directives of the main part": _make(
        top="worker_processes 1;\nerror_log /dev/null;\nevents { worker_connections 64; }"
    ),
    "the site before the upstream": _make()
    .replace(_SITE.split("server {\n", maxsplit=1)[0], "")
    .replace("http {\n", "http {\n", 1)
    .rstrip()
    .removesuffix("}")
    + "upstream collabServer { server 192.0.2.1:3000; ip_hash; }\n}\n",
    "a method after the servers": _make().replace(
        "ip_hash; server 192.0.2.1:3000; server 192.0.2.2:3000;",
        "server 192.0.2.1:3000; server 192.0.2.2:3000; ip_hash;",
    ),
    "an address of IPv6": _make().replace("192.0.2.2:3000", "[2001:db8::2]:3000"),
    "letters that are not English": _make(server='add_header X "grün"; # für später'),
    "empty blocks": _make("map $host $empty { }", "location /empty { }"),
    "a nested expression": _make(server="location /n { if ($arg_a = '') { return 400; } }"),
    "an expression in limit_except": _make(server="location /l { limit_except GET POST { deny all; } }"),
}
"""What it shows -> the file."""

INVALID = {
    "a brace too few": _make().rstrip().removesuffix("}"),
    "a brace too many": _make() + "}\n",
    "an open quote": _make(server='add_header X "a;'),
    "text right after a quote": _make(server='add_header X "a"b;'),
    "no semicolon": _make(server="add_header X a"),
    "a semicolon alone": _make(server=";"),
    "a block without a name": _make(server="{ }"),
    "an upstream without servers": _make("upstream other { ip_hash; }"),
    "an upstream without a name": _make("upstream { server 192.0.2.9:80; }"),
    "two upstreams of one name": _make("upstream collabServer { server 192.0.2.9:80; }"),
    "a location outside of a server": _make("location /x { return 200; }"),
    "ip_hash in a server": _make(server="ip_hash;"),
    "a location twice": _make(server="location /status { return 200; }"),
    "an upstream that nobody knows": _make(server="location /y { proxy_pass http://nobody/; }"),
    "a URL without its scheme": _make(server="location /y { proxy_pass collabServer/; }"),
    "proxy_pass twice": _make(
        server="location /y { proxy_pass http://collabServer/; proxy_pass http://collabServer/; }"
    ),
    "proxy_http_version twice": _make(
        server="location /y { proxy_http_version 1.1; proxy_http_version 1.0; }"
    ),
    "a header without a value": _make(server="proxy_set_header Upgrade;"),
    "no events": _make(top=""),
    "a server without an address": _make().replace("server 192.0.2.1:3000;", "server;"),
    "an upstream in a server": _make(server="upstream x { server 192.0.2.9:80; }"),
    "a block that needs none": _make(server="proxy_set_header A b { }"),
    "an upstream without a block": _make("upstream x;"),
    "a value that nginx does not know": _make(server="location /y { proxy_http_version 7; }"),
    "a byte order mark": "\ufeff" + _make(),
}
"""What is wrong -> the file."""
