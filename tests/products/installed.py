"""Makes the products of this folder known to the program, as `pip install` would, for as long as needed."""

import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

from reconciler.drivers import registry

HERE = Path(__file__).parent


def install(product, folder):
    """Write what an installer writes of a product's package; gives the folders for Python's path."""
    source = HERE / product
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    info = Path(folder) / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = project["entry-points"]
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{kind} = {value}\n" for kind, value in listed.items())
            for group, listed in points.items()
        )
    )
    return [str(folder), str(source)]


@contextmanager
def installed(product, folder):
    """A product that this process can use."""
    places = install(product, folder)
    sys.path[:0] = places
    _forget()
    try:
        yield
    finally:
        for place in places:
            sys.path.remove(place)
        _forget()


def _forget():
    registry._find_entry_points.cache_clear()
    registry._load_driver.cache_clear()
