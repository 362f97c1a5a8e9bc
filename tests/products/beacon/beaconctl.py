"""What the host's commands run: `beaconctl.py HOST:PORT show` and `beaconctl.py HOST:PORT set PATTERN`."""

import http.client
import sys

place, *path = sys.argv[1:]
connection = http.client.HTTPConnection(place, timeout=5)
try:
    connection.request("GET" if path == ["show"] else "POST", f"/{'/'.join(path)}")
    answer = connection.getresponse()
    words = answer.read().decode()
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"{place} does not answer: {error}")
if answer.status != 200:
    sys.exit(f"{place} answered {answer.status}: {words}")
sys.stdout.write(words)
