import pytest

from reconciler.errors import UsageError
from reconciler.host.extras import import_extra


def test_an_installed_library_is_imported():
    assert import_extra("json", "kafka", "Kafka brokers").loads("1") == 1


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.part"])
def test_a_missing_library_names_its_extra(module):
    with pytest.raises(UsageError) as caught:
        import_extra(module, "kafka", "Kafka brokers")
    assert str(caught.value) == f"Kafka brokers need a library that is not installed here: {module}"
    assert caught.value.remedy == "install it: `pip install 'fleet-reconciler[kafka]'`"


def test_a_library_with_a_missing_part_of_its_own_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import no_such_part")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_part"):
        import_extra("half_installed", "kafka", "Kafka brokers")
