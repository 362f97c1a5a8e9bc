"""Whose memory a revision goes on with: by its name, its history, its source; and who has to say so first."""

import pytest

from reconciler.core.fleet_matching import (
    NEW,
    FleetIdentity,
    KnownFleet,
    ResolvedFleet,
    normalise_source,
    resolve_fleet,
)
from reconciler.errors import FleetRefused

A, B = ("a" * 40,), ("b" * 40,)
GIT, CLONE, FOLDER = "https://git.example/fleet.git", "/srv/clone", "/srv/files"


def known(number=1, **more):
    return KnownFleet(number, **{"roots": A, "path": "", "sources": (GIT,), **more})


def me(name="", roots=A, source=GIT, **more):
    return FleetIdentity(source, name, roots=roots, **more)


def refusal(identity, *fleets):
    with pytest.raises(FleetRefused) as found:
        resolve_fleet(identity, fleets)
    return f"{found.value.message}; {found.value.remedy}"


def test_nothing_is_remembered_of_a_fleet_that_is_new():
    assert resolve_fleet(me(), ()) == ResolvedFleet(NEW)
    assert resolve_fleet(me("edge"), [known(name="core", roots=B, sources=(CLONE,))]) == ResolvedFleet(NEW)


@pytest.mark.parametrize("name", ["", "edge"])
def test_another_address_of_the_same_history_is_the_same_fleet(name):
    assert resolve_fleet(me(name, source=CLONE), [known(name=name)]) == ResolvedFleet(1)


def test_two_repositories_without_names_are_two_fleets():
    assert resolve_fleet(me(roots=B, source=CLONE), [known()]) == ResolvedFleet(NEW)


def test_a_first_name_keeps_the_past_of_the_fleet_without_one():
    assert resolve_fleet(me("edge"), [known()]) == ResolvedFleet(1)
    assert resolve_fleet(
        me("edge", roots=(), source=FOLDER), [known(roots=(), sources=(FOLDER,))]
    ) == ResolvedFleet(1)


@pytest.mark.parametrize("name", ["", "edge"])
def test_a_fleet_file_that_moved_to_another_folder_keeps_its_past(name):
    assert resolve_fleet(me(name, path="fleets/edge"), [known(name=name)]) == ResolvedFleet(1)
    assert resolve_fleet(me("edge", path="fleets/edge"), [known()]) == ResolvedFleet(1)


def test_a_second_fleet_file_of_a_repository_is_refused_until_both_have_a_name():
    both = {"path": "live", "others": {"": ""}}
    assert "two fleet files" in refusal(me(**both), known())
    assert "two fleet files" in refusal(me("live", **both), known())
    assert "this one, in the folder live, has no name" in refusal(
        me(path="live", others={"": "edge"}), known(name="edge")
    )
    assert resolve_fleet(me("live", path="live", others={"": "edge"}), [known()]) == ResolvedFleet(NEW)
    assert resolve_fleet(me("live", path="live", others={"": "edge"}), [known(name="edge")]) == ResolvedFleet(
        NEW
    )


def test_of_two_lone_settings_files_of_a_repository_the_second_is_refused():
    both = {"path": "live", "others": {"": ""}, "is_lone": True, "lone": frozenset({""})}
    for before in (True, None):
        assert "two settings files" in refusal(me(**both), known(is_lone=before))
    moved = {"path": "live", "is_lone": True}
    assert resolve_fleet(me(**moved), [known(is_lone=True)]) == ResolvedFleet(1)


def test_one_lone_settings_file_goes_beside_fleets_with_a_name():
    alone, named = known(is_lone=True), known(name="live", path="live")
    beside = {"path": "live", "others": {"": ""}, "lone": frozenset({""})}
    assert resolve_fleet(me("live", **beside), [alone]) == ResolvedFleet(NEW)
    assert resolve_fleet(me(path="", others={"live": "live"}, is_lone=True), [named]) == ResolvedFleet(NEW)
    assert "that in the folder live has no name" in refusal(
        me(path="", others={"live": ""}, is_lone=True), known(path="live")
    )
    assert "this one, in the folder live, has no name" in refusal(me(**beside), alone)


def test_a_settings_file_that_a_moved_fleet_file_leaves_behind_is_no_fleet():
    left = {"path": "live", "others": {"": ""}, "lone": frozenset({""})}
    assert resolve_fleet(me(**left), [known(is_lone=False)]) == ResolvedFleet(1)
    assert "restore `name: edge`" in refusal(me(**left), known(name="edge"))


def test_a_fleet_file_written_beside_a_lone_settings_file_keeps_its_past():
    assert resolve_fleet(me("edge"), [known(is_lone=True)]) == ResolvedFleet(1)


def test_two_files_of_a_repository_cannot_share_a_name():
    found = refusal(me("edge", path="live", others={"": "edge"}), known(name="edge"))
    assert "two fleet files of https://git.example/fleet.git have the name edge" in found


def test_a_changed_name_alone_does_not_discard_the_history():
    assert "add `renamed_from: edge`" in refusal(me("core"), known(name="edge"))
    assert "restore `name: edge`" in refusal(me(), known(name="edge"))
    assert "renamed_from: edge" in refusal(me("core", path="moved"), known(name="edge"))
    assert "renamed_from: edge" in refusal(
        me("core", roots=(), source=FOLDER), known(name="edge", roots=(), sources=(FOLDER,))
    )


def test_a_rename_that_names_the_former_name_keeps_the_past():
    renamed = me("core", renamed_from="edge")
    assert resolve_fleet(renamed, [known(name="edge")]) == ResolvedFleet(1)
    assert resolve_fleet(renamed, [known(name="core")]) == ResolvedFleet(1)
    assert "--source" in refusal(me("core", roots=B, source=CLONE, renamed_from="edge"), known(name="edge"))


def test_branches_of_a_repository_with_different_names_are_different_fleets():
    live = known(name="live", ref="live")
    assert resolve_fleet(me("lab", ref="lab"), [live]) == ResolvedFleet(NEW)
    assert "renamed_from" in refusal(me("lab", ref="live"), live)
    assert "renamed_from" in refusal(me("lab"), live)


def test_the_same_name_on_another_history_is_refused_with_the_command_that_confirms_it():
    found = refusal(me("edge", roots=B, source=CLONE), known(name="edge"))
    assert "its history begins with commit bbbbbbbbbbbb, that of the fleet with aaaaaaaaaaaa" in found
    assert "`reconcile state rebind edge --source /srv/clone`" in found


def test_a_source_without_history_is_a_named_fleet_only_after_rebind():
    assert "/srv/files has no git history" in refusal(me("edge", roots=(), source=FOLDER), known(name="edge"))
    bound = known(name="edge", sources=(GIT, FOLDER))
    assert resolve_fleet(me("edge", roots=(), source=FOLDER), [bound]) == ResolvedFleet(1)
    without = known(name="edge", roots=(), sources=(FOLDER,))
    assert "/srv/files has no git history" in refusal(me("edge", source=CLONE), without)


def test_a_shallow_clone_claims_no_identity_but_its_address():
    assert resolve_fleet(me(roots=()), [known()]) == ResolvedFleet(1)
    assert resolve_fleet(me(roots=(), source=CLONE), [known()]) == ResolvedFleet(NEW)


def test_an_address_whose_history_was_replaced_is_refused():
    found = refusal(me(roots=B), known())
    assert "it began with commit aaaaaaaaaaaa and now begins with bbbbbbbbbbbb" in found
    assert f"rebind {GIT} --source {GIT}" in found
    assert resolve_fleet(me("other", roots=B), [known()]) == ResolvedFleet(NEW)


def test_two_histories_of_one_fleet_are_merged():
    """An older version kept the past by the source as it was spelt."""
    older = [known(1, roots=(), path=None), known(2, sources=(CLONE,))]
    assert resolve_fleet(me(), older) == ResolvedFleet(1, (2,))


def test_a_history_with_two_beginnings_is_known_by_either():
    assert resolve_fleet(me(roots=(*A, *B), source=CLONE), [known()]) == ResolvedFleet(1)


@pytest.mark.parametrize(
    ("given", "one"),
    [
        ("/srv/f", "/srv/f"),
        ("file:///srv/f", "/srv/f"),
        ("/srv/f/.git", "/srv/f"),
        ("/srv/f/.git//live", "/srv/f/live"),
        ("/srv/f//live", "/srv/f/live"),
        ("https://git.example/fleet.git//live", "https://git.example/fleet.git//live"),
    ],
)
def test_a_folder_has_one_spelling(given, one):
    assert normalise_source(given) == one
