"""Simulated clusters of Collaboration Servers for tests, and their files."""

import json
from dataclasses import replace

from reconciler.drivers.collab.choices import DEFAULTS
from reconciler.drivers.collab.simulator.loaded_files import read_server_file
from reconciler.drivers.collab.simulator.world import CollabWorld, SiteNames
from reconciler.ports.simulated_machine import SimulatedFile, SimulatedMachine
from reconciler.ports.simulator import NodeRequest

AT_ONCE = replace(DEFAULTS, start_readings=0, paused_readings=0)
"""Servers that serve as soon as they are started."""

REDIS_FILE = b"# people\nbind 127.0.0.1\nport 6379\nrequirepass old\n"


def make_config(password="old", **values):
    """A config.json."""
    login = f":{password}@" if password else ""
    value = {
        "port": 3000,
        "dataSource": {"username": "mstr_collab", "password": "xxx"},
        "logging": True,
        "authorizationServerUrl": "http://127.0.0.1:8080/api",
        "scaling": "horizontal",
        "redisServerUrl": f"redis://{login}127.0.0.1:6379",
    }
    return json.dumps(value | values).encode()


def make_nginx(*servers):
    """An nginx file."""
    upstream = "".join(f" server {place};" for place in servers)
    return f"""
    events {{ }}
    http {{
      upstream collabServer {{ ip_hash;{upstream} }}
      server {{
        listen 8080;
        location /socket.io/ {{
          proxy_http_version 1.1;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection "upgrade";
          proxy_pass http://collabServer/socket.io/;
        }}
        location /status {{ proxy_pass http://collabServer/status; }}
      }}
    }}
    """.encode()


def make_world(count=2, *, choices=AT_ONCE, redis_file=REDIS_FILE, config=None, started=True):
    """A cluster of `c1`, `c2` …, with `redis` and `lb`."""
    servers = {f"c{number}": f"192.0.2.{number}:3000" for number in range(1, count + 1)}
    files = {name: ("config", config or make_config()) for name in servers}
    files |= {"redis": ("redis-conf", redis_file), "lb": ("nginx", make_nginx(*servers.values()))}
    machines = {
        name: SimulatedMachine({entry: SimulatedFile(content)}) for name, (entry, content) in files.items()
    }
    entries = {name: entry for name, (entry, _) in files.items()}
    names = SiteNames(servers, "redis", "127.0.0.1", "lb", entries=entries)
    databases = frozenset({read_server_file(make_config()).database})
    world = CollabWorld(names, machines, databases, choices)
    if started:
        for node in ("redis", *servers, "lb"):
            world.start(node)
    return world


def get(target="/status", peer="127.0.0.1", method="GET", **headers):
    """A request."""
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return NodeRequest(method, target, names, b"", peer)


HANDSHAKE = get(
    "/socket.io/?EIO=4&transport=websocket",
    upgrade="websocket",
    connection="Upgrade",
    sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
    sec_websocket_version="13",
)
"""With the key of the example in RFC 6455."""
