"""Products of packages: found by their entry point, and refused with the reason where they are unusable."""

import sys

import pytest

from reconciler.drivers import registry
from reconciler.drivers.registry import BUILT_IN, DRIVERS, load_installed
from reconciler.errors import UsageError

DRIVER = """
from reconciler.ports.driver import Driver

class Brought(Driver):
    kind = {kind!r}
    title = "Brought"

    def desire(self, desk): ...
    async def observe(self, desired, transports): ...
    def plan(self, desired, observed): ...
    async def observe_step(self, step, transports): ...
    def judge(self, step, seen): ...
    async def act(self, step, transports, payloads): ...

DRIVER = Brought()
"""


@pytest.fixture
def bring(tmp_path, monkeypatch):
    """Installs a package with an entry point for a kind, of a module with this text."""

    def bring(package, kind, text):
        module = package.replace("-", "_")
        monkeypatch.delitem(sys.modules, module, raising=False)
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[reconciler.drivers]\n{kind} = {module}:DRIVER\n")

    def forget():
        registry._find_entry_points.cache_clear()
        registry._load_driver.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield bring
    forget()


def test_a_package_adds_a_product(bring):
    bring("tower-driver", "tower", DRIVER.format(kind="tower"))
    assert "tower" in DRIVERS
    assert DRIVERS["tower"].title == "Brought"
    assert list(DRIVERS) == [*BUILT_IN, "tower"]


def test_packages_are_searched_only_for_a_kind_that_the_table_does_not_have(bring):
    bring("tower-driver", "tower", "raise RuntimeError")
    assert "m2" in DRIVERS
    assert DRIVERS["sora"].kind == "sora"
    assert list(DRIVERS) == [*BUILT_IN]
    assert list(load_installed()) == [*BUILT_IN, "tower"]


def test_a_kind_of_no_package_is_unknown(bring):
    assert "tower" not in DRIVERS
    with pytest.raises(KeyError):
        DRIVERS["tower"]


def test_two_packages_with_one_kind_are_refused(bring):
    bring("tower-driver", "tower", DRIVER.format(kind="tower"))
    bring("other-driver", "tower", DRIVER.format(kind="tower"))
    with pytest.raises(UsageError) as caught:
        DRIVERS["tower"]
    assert caught.value.message == (
        "the product 'tower' is provided by the package other-driver and by the package tower-driver"
    )
    assert caught.value.remedy


def test_a_package_with_a_built_in_kind_is_refused(bring):
    bring("own-m2", "m2", DRIVER.format(kind="m2"))
    with pytest.raises(
        UsageError, match="the product 'm2' is provided by the package own-m2 and by this program"
    ):
        load_installed()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        ("", "cannot be loaded: AttributeError"),
        ("DRIVER = 1", "is not a driver of this kind"),
        (DRIVER.format(kind="lamp"), "is not a driver of this kind"),
        (
            DRIVER.replace("def judge", "def juge").format(kind="tower"),
            "cannot be loaded: TypeError: Can't instantiate",
        ),
    ],
)
def test_an_unusable_product_is_refused_with_the_reason(bring, text, words):
    bring("tower-driver", "tower", text)
    with pytest.raises(UsageError) as caught:
        DRIVERS["tower"]
    assert caught.value.message.startswith(
        "the product 'tower' of the package tower-driver (tower_driver:DRIVER)"
    )
    assert words in caught.value.message
    assert "tower-driver" in caught.value.remedy
