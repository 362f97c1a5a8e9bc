"""Parts of renderings: limits, grouping, escaping, and that no secret is shown."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli_samples import EDGE, ENDED, EVIL, FULL, HOSTILE, PLAN, REVISION, partial, report, upload

from reconciler.cli.render import json as as_json
from reconciler.cli.render import markdown, text
from reconciler.cli.render.length_limit import DocumentPiece, PieceRank, fit_pieces
from reconciler.cli.render.markdown import escape_markdown, format_code, format_code_block
from reconciler.core.diff import Change, Op, diff_values
from reconciler.core.finding_groups import group_findings
from reconciler.core.outcome import State
from reconciler.core.plan import ClusterPlan, Plan, Risk
from reconciler.core.secret import Secret
from reconciler.descriptions import phrases
from reconciler.descriptions.changes import format_change, format_changes
from reconciler.descriptions.phrases import PlanView
from reconciler.descriptions.step_groups import group_steps
from reconciler.descriptions.values import format_count, format_value, shorten_text
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.modelcheck.explore import Exploration
from reconciler.planning.model_check import CheckResult
from reconciler.text.node_names import format_node_names, generalise_sentence, make_natural_key
from reconciler.text.one_line import clean_line


def render_json(view):
    return as_json.render_plan_json(view, ENDED)


RENDERED = [text.render_plan_text, markdown.render_plan_markdown, render_json]
PRINTABLE = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*")


@given(st.text(st.characters(exclude_categories=[])))
def test_clean_text_is_one_printable_line(value):
    output = clean_line(value)
    assert "\n" not in output
    assert PRINTABLE.fullmatch(output)
    output.encode()


def test_a_cut_text_shows_its_length():
    assert shorten_text("abc", 3) == "abc"
    assert shorten_text("a" * 1500, 10) == "a" * 10 + " … (1,500 characters)"


def test_numbers_take_their_noun():
    assert [format_count(number, "node") for number in (0, 1, 2500)] == ["0 nodes", "1 node", "2,500 nodes"]


@pytest.mark.parametrize("render", RENDERED)
def test_secrets_are_not_rendered(render):
    assert "hunter" not in render(FULL)
    assert "payloads" not in render(FULL)


@pytest.mark.parametrize("render", RENDERED)
def test_nothing_rendered_steers_a_terminal(render):
    assert PRINTABLE.fullmatch(render(HOSTILE))


def test_a_change_of_a_secret_shows_neither_value():
    output = format_change(Change("/key", Op.REPLACE, old=Secret("one"), new=Secret("two", "${env:KEY}")))
    assert [line.text for line in output] == ['/key: was "••••••", becomes "${env:KEY}"']
    same = format_change(
        Change("/key", Op.REPLACE, old=[{"key": Secret("one")}], new=[{"key": Secret("two")}])
    )
    assert "secret" in same[0].text
    assert "one" not in str(same)


def test_an_array_shows_what_left_and_what_came():
    output = format_change(Change("/list", Op.REPLACE, old=["a", "b", "b"], new=["b", "c"]))
    assert [f"{line.mark} {line.text}" for line in output] == [
        "~ /list: was 3 items, becomes 2, 1 of them unchanged",
        '-   "a"',
        '-   "b"',
        '+   "c"',
    ]


def test_a_list_in_another_order_is_shown_as_such():
    output = format_change(Change("/list", Op.REPLACE, old=[1, 2], new=[2, 1]))
    assert output[0].text == "/list: the same 2 items in another order"
    assert [line.text.split() for line in output[1:]] == [["was", "[1,", "2]"], ["becomes", "[2,", "1]"]]


def test_long_values_are_cut_and_many_changes_counted():
    assert len(format_value("x" * 10_000)) < 400
    changes = diff_values({str(index): 0 for index in range(30)}, {str(index): 1 for index in range(30)})
    output = format_changes(changes, 20)
    assert len(output) == 21
    assert output[-1].text == "… and 10 more changes"


def test_names_become_ranges_only_where_every_number_is_there():
    assert format_node_names(["a-1"]) == "a-1"
    assert format_node_names([f"a-{number:02}" for number in range(8, 13)]) == "a-08 … a-12 (5 nodes)"
    assert format_node_names(["a-1", "a-2", "a-4", "a-5"]) == "a-1, a-2, a-4, a-5 (4 nodes)"
    hosts = [f"n@10.0.0.{number}" for number in range(9, 13)]
    assert format_node_names(hosts) == "n@10.0.0.9 … n@10.0.0.12 (4 nodes)"
    far = [f"a-{number}" for number in range(0, 40, 2)]
    assert format_node_names(far) == "a-0, a-2, a-4, a-6, a-8, a-10 … (20 nodes)"


def test_names_are_sorted_as_people_count():
    names = [f"n{number}" for number in range(1, 13)]
    assert sorted(sorted(names), key=make_natural_key) == names
    findings = [
        Diagnostic(Severity.ERROR, "x", "cannot be read", target=f"edge/{name}") for name in sorted(names)
    ]
    (group,) = group_findings(findings)
    assert group.who == "n1 … n12 (12 nodes)"


def test_a_sentence_about_one_node_speaks_of_each():
    text = generalise_sentence("edge-1 is not edge-10; edge-1's port", "edge-1")
    assert text == "each node is not edge-10; each node's port"


def test_a_name_of_digits_is_no_figure():
    text = generalise_sentence("3 could not be read: no answer within 3 s; see `reconcile retry 3`", "3")
    assert text == "each node could not be read: no answer within 3 s; see `reconcile retry NODE`"


def test_a_terminal_gets_no_line_that_it_would_break_itself():
    long = Change("/feed", Op.ADD, new={f"key {number}": "some words" for number in range(20)})
    steps = (upload(1, changes=(long,), reason="because " * 40),)
    view = PlanView(Plan(REVISION, "1", (replace(EDGE, steps=steps),)), warnings=FULL.warnings)
    output = text.render_plan_text(view, layout=text.TerminalLayout(width=70))
    assert max(map(len, output.splitlines())) <= 70
    assert '"key 19": "some words"' in " ".join(output.split())


@pytest.mark.parametrize("render", [text.render_plan_text, markdown.render_plan_markdown])
def test_a_plan_shows_a_few_warnings_and_counts_the_others(render):
    def output(count):
        warnings = tuple(replace(FULL.warnings[0], code=f"lint-{number}") for number in range(count))
        return render(replace(FULL, warnings=warnings))

    assert [f"lint-{number}" in output(4) for number in range(4)] == [True] * 4
    assert "reconcile validate" not in output(4)
    assert [f"lint-{number}" in output(12) for number in range(12)] == [True] * 3 + [False] * 9
    assert "9 more warnings: `reconcile validate` shows them all" in output(12)
    assert len(output(5_000).splitlines()) == len(output(12).splitlines())
    held = tuple(
        Diagnostic(Severity.NOTE, "node-held", "n is held", target=f"edge/n{one}") for one in range(9)
    )
    assert "6 more warnings: `--full` shows them all" in render(replace(FULL, warnings=held))


def test_a_thousand_equal_changes_are_one_paragraph():
    cluster = replace(EDGE, steps=tuple(upload(number) for number in range(1, 1001)), findings=())
    output = text.render_plan_text(PlanView(Plan(REVISION, "1", (cluster,))))
    assert len(output.splitlines()) < 20
    assert "1-1000  upload  edge-01 … edge-1000 (1,000 nodes)" in output


def test_steps_of_interleaved_nodes_are_gathered_and_keep_their_order():
    steps = []
    for number in (1, 2):
        first = upload(number)
        steps += [
            first,
            upload(number, id=f"edge-seoul/edge-{number:02}/wait", action="wait", after=(first.id,)),
        ]
    plan = Plan(REVISION, "1", (replace(EDGE, steps=tuple(steps)),))
    output = [(group.numbers, group.step.action, group.after) for group in group_steps(plan)["edge-seoul"]]
    assert output == [("1-2", "upload", ""), ("3-4", "wait", "1-2")]


def test_steps_that_wait_for_other_nodes_stay_where_they_are():
    one, two, three = upload(1), upload(2, action="other"), upload(3)
    two = replace(two, after=(one.id,))
    three = replace(three, after=(two.id,))
    plan = Plan(REVISION, "1", (replace(EDGE, steps=(one, two, three)),))
    output = [(group.numbers, group.nodes, group.after) for group in group_steps(plan)["edge-seoul"]]
    assert output == [("1", "edge-01", ""), ("2", "edge-02", "1"), ("3", "edge-03", "2")]


def test_a_step_is_never_shown_before_the_steps_that_it_waits_for():
    steps, after = [], ()
    for number in (1, 2, 3):
        for action in ("drain", "stop", "purge"):
            id_ = f"edge-seoul/edge-{number:02}/{action}"
            steps.append(upload(number, id=id_, action=action, after=after))
            after = (id_,)
    plan = Plan(REVISION, "1", (replace(EDGE, steps=tuple(steps)),))
    for group in group_steps(plan)["edge-seoul"]:
        assert all(int(number) < group.first for number in re.findall(r"\d+", group.after))


def test_numbers_run_through_all_clusters_and_miss_no_step():
    numbers = []
    for groups in group_steps(PLAN).values():
        for group in groups:
            numbers += range(group.first, group.first + len(group.steps))
    assert numbers == list(range(1, len(list(PLAN.steps())) + 1))


def test_markdown_of_others_neither_formats_nor_summons():
    output = escape_markdown("a|b <b> `c` @team x@10.0.0.1 #7 [l](u)\n/close")
    assert output == r"a\|b \<b\> \`c\` @<!-- -->team x@10.0.0.1 \#<!-- -->7 \[l\](u) /close"
    assert format_code("a`b``c") == "```a`b``c```"
    assert format_code("`") == "`` ` ``"
    assert format_code_block("```", "diff").splitlines()[0] == "````diff"


def test_hostile_text_opens_no_line_of_its_own():
    output = markdown.render_plan_markdown(HOSTILE)
    assert len([line for line in output.splitlines() if line.startswith("#")]) == 2
    assert EVIL.splitlines()[1] not in output.splitlines()


def test_a_comment_is_cut_to_its_length_and_counts_what_is_omitted():
    steps = tuple(upload(number, reason=f"reason {number}") for number in range(4_000))
    view = PlanView(Plan(REVISION, "1", (replace(EDGE, steps=steps),)))
    whole = markdown.render_plan_markdown(view, limit=10_000_000)
    cut = markdown.render_plan_markdown(view)
    assert len(whole) > markdown.LIMIT >= len(cut)
    assert re.search(r"1 folded difference and [\d,]+ rows omitted", cut)
    assert [number for number in (0, 1, 2) if f"reason {number}" not in cut] == []
    shorter = markdown.render_plan_markdown(view, limit=5000)
    assert len(shorter) <= 5000
    assert "| `edge-seoul` |" in shorter
    assert "rows omitted" in shorter


def own(number, *more):
    """A change of an edge node's own, and one that all have."""
    changes = (Change("/meta/version", Op.REPLACE, "7", "8"), *more)
    return upload(number, changes=(*changes, Change("/env/site", Op.REPLACE, "-", f"rack|{number}")))


def rows(output):
    return [line.strip() for line in output.splitlines() if line.startswith("  |")][2:]


def test_a_hundred_nodes_that_differ_give_a_row_each_under_one_paragraph():
    steps = tuple(own(number) for number in range(1, 101))
    output = markdown.render_plan_markdown(PlanView(Plan(REVISION, "1", (replace(EDGE, steps=steps),))))
    assert output.count(" upload** ") == 1
    assert "**1-100 upload** edge-01 … edge-100 (100 nodes)" in output
    assert output.count("/meta/version") == 1, "what all have stands once"
    assert rows(output)[6] == r'| 7 | edge-07 | `~ /env/site: was "-", becomes "rack\|7"` |'
    assert len(rows(output)) == 100
    assert len(output) < 12_000


def test_a_hundred_nodes_that_differ_in_several_places_keep_their_rows_with_fewer_changes_in_each():
    steps = tuple(
        own(number, *(Change(f"/env/a{place}/{number}", Op.ADD, None, "x" * 200) for place in range(8)))
        for number in range(1, 101)
    )
    output = markdown.render_plan_markdown(PlanView(Plan(REVISION, "1", (replace(EDGE, steps=steps),))))
    assert len(rows(output)) == 100
    assert len(output) <= markdown.LIMIT
    assert "more changes" in rows(output)[99]


def test_equal_steps_on_one_node_after_the_other_are_one_text_with_a_row_for_each():
    """Sora's nodes leave in turn: each stop waits for the step on the node before."""
    steps, before = [], ()
    for number in range(1, 41):
        for risk in (Risk.LOW, Risk.MEDIUM):
            step = replace(upload(number, risk=risk), id=f"edge-seoul/{number}/{risk}", changes=())
            steps.append(replace(step, after=before))
            before = (steps[-1].id,)
    output = markdown.render_plan_markdown(
        PlanView(Plan(REVISION, "1", (replace(EDGE, steps=tuple(steps)),)))
    )
    assert output.count(" upload** ") == 2
    assert "**40 times upload** edge-01 … edge-40 (40 nodes)" in output
    assert "| 3 | edge-02 | 2 |" in output
    assert len(output) < 5_000
    few = markdown.render_plan_markdown(
        PlanView(Plan(REVISION, "1", (replace(EDGE, steps=tuple(steps[:6])),)))
    )
    assert few.count(" upload** ") == 6


def test_nodes_alike_share_a_row_and_reasons_of_their_own_stand_in_it():
    steps = [upload(number, reason=f"edge-{number:02} runs setting {number % 4}") for number in range(1, 9)]
    output = markdown.render_plan_markdown(
        PlanView(Plan(REVISION, "1", (replace(EDGE, steps=tuple(steps)),)))
    )
    assert rows(output) == [
        "| 1-2 | edge-01, edge-05 (2 nodes) | each node runs setting 1 |",
        "| 3-4 | edge-02, edge-06 (2 nodes) | each node runs setting 2 |",
        "| 5-6 | edge-03, edge-07 (2 nodes) | each node runs setting 3 |",
        "| 7-8 | edge-04, edge-08 (2 nodes) | each node runs setting 0 |",
    ]
    assert "undo: upload the setting that was read" in output


def test_three_that_differ_keep_a_paragraph_each():
    steps = tuple(own(number) for number in range(1, 4))
    output = markdown.render_plan_markdown(PlanView(Plan(REVISION, "1", (replace(EDGE, steps=steps),))))
    assert output.count(" upload** ") == 3
    assert rows(output) == []


def test_a_row_shows_no_secret_and_a_few_changes_only():
    secret = Change("/env/key", Op.REPLACE, Secret("old-clear"), Secret("new-clear"))
    many = [Change(f"/env/a{number}", Op.ADD, None, "x" * 500) for number in range(9)]
    steps = tuple(own(number, secret, *many) for number in range(1, 5))
    steps = tuple(
        replace(
            step,
            changes=step.changes[:1]
            + tuple(replace(change, pointer=f"{change.pointer}/{number}") for change in step.changes[1:]),
        )
        for number, step in enumerate(steps)
    )
    output = markdown.render_plan_markdown(PlanView(Plan(REVISION, "1", (replace(EDGE, steps=steps),))))
    assert "clear" not in output
    assert "a secret in it changes (not shown)" in rows(output)[0]
    assert rows(output)[0].endswith("… and 6 more changes` |")
    assert max(map(len, rows(output))) < 1_000


def test_other_things_that_are_done_are_other_paragraphs():
    steps = [own(number) if number % 2 else upload(number, risk=Risk.MEDIUM) for number in range(1, 11)]
    output = markdown.render_plan_markdown(
        PlanView(Plan(REVISION, "1", (replace(EDGE, steps=tuple(steps)),)))
    )
    assert "**1-5 upload** edge-01, edge-03, edge-05, edge-07, edge-09 (5 nodes)" in output
    assert "**6-10 upload** edge-02, edge-04, edge-06, edge-08, edge-10 (5 nodes)" in output
    assert len(rows(output)) == 5


def test_the_result_of_the_checker_is_what_a_reviewer_needs():
    whole = Exploration(443_427, 9, 9, complete=True)
    broken = replace(whole, broken="live loses a majority", story=("node-01 fails", "node-02 is stopped"))
    checked = (
        CheckResult("edge", whole, words="3 nodes stand for 43"),
        CheckResult("edge-2", whole),
        CheckResult("live", broken),
        CheckResult("large", replace(whole, complete=False)),
        CheckResult("idle", reason="nothing is planned"),
    )
    output = markdown.render_plan_markdown(replace(FULL, checked=checked, faults=1))
    lines = [line for line in output.splitlines() if "model checker" in line or line.startswith("  1. ")]
    bounds = "with up to 1 fault and one kill of the reconciler"
    assert lines == [
        f"- **model checker** `live`: **an execution {bounds} breaks a rule**: live loses a majority",
        "  1. node-01 fails",
        "- **model checker** `large`: " + markdown.TOO_MANY,
        f"- **model checker** `edge`, `edge-2`: no execution {bounds} breaks a rule",
    ]
    assert "443,427" not in output
    assert "stand for" not in output


def test_a_fleet_of_very_many_clusters_still_fits():
    clusters = tuple(ClusterPlan(f"cluster-{number}", "m2", 1, 1) for number in range(5000))
    assert len(markdown.render_plan_markdown(PlanView(Plan(REVISION, "1", clusters)))) <= markdown.LIMIT


def test_pieces_are_given_up_by_rank_and_from_the_end():
    pieces = [
        DocumentPiece("head"),
        *(DocumentPiece("d" * 300, PieceRank.DIFFERENCE), DocumentPiece("s" * 300, PieceRank.STEP)) * 2,
    ]
    output = fit_pieces(pieces, 900)
    assert output.startswith("head" + "s" * 600 + "\n")
    assert "2 folded differences omitted" in output


def test_a_run_that_succeeded_but_left_something_different_does_not_look_verified():
    output = phrases.summarise_run(report(), PLAN)
    assert output.startswith("Done: 43 changes; still to do: 43 changes")
    assert "verified" not in output


def test_only_nodes_that_are_as_desired_are_counted_as_such():
    away = Diagnostic(Severity.WARNING, "node-away", "node-03 is away", target="live/node-03")
    plan = Plan(REVISION, "1", (ClusterPlan("live", "sora", 3, 2, findings=(away,)),))
    assert phrases.summarise_plan(plan) == "No changes: 2 of 3 nodes are as desired; 1 warning."
    output = phrases.summarise_run(report(plan=PLAN), plan)
    assert output.endswith("no further changes are planned now, 2 of 3 nodes are as desired; 1 warning.")


def test_the_last_line_of_a_plan_without_steps_names_clusters_that_are_kept_back():
    plan = Plan(REVISION, "1", (ClusterPlan("live", "sora", 3, 3),))
    gone = Diagnostic(
        Severity.ERROR, "cluster-vanished", "it is gone", "put it back", target="west", hold=True
    )
    assert phrases.summarise_plan(plan, [gone]) == (
        "No changes: 3 nodes are as desired; 1 cluster is on hold."
    )


def silent(number):
    return Diagnostic(
        Severity.ERROR, "node-unreachable", f"n{number} could not be read", target=f"edge/n{number}"
    )


@pytest.mark.parametrize(
    ("unread", "unchanged", "others", "summary"),
    [
        (3, 0, (), "3 of 3 nodes could not be read."),
        (1, 2, (), "1 of 3 nodes could not be read; 2 of 3 nodes are as desired."),
        (1, 0, ("majority-lost",), "1 of 3 nodes could not be read; 0 of 3 nodes are as desired; 1 error."),
    ],
)
def test_unread_nodes_are_named_as_such(unread: int, unchanged: int, others: tuple[str, ...], summary: str):
    findings = [silent(number) for number in range(unread)]
    findings += [Diagnostic(Severity.ERROR, code, "another error", target="edge") for code in others]
    plan = Plan(REVISION, "1", (ClusterPlan("edge", "m2", 3, unchanged, findings=tuple(findings)),))
    assert phrases.summarise_plan(plan) == f"Nothing planned: {summary}"
    assert phrases.summarise_run(report(plan=PLAN), plan).endswith(f"are planned now, {summary}")


def test_unread_nodes_are_one_sentence():
    found = [silent(1), silent(2)]
    assert [group.text for group in group_findings(found)] == ["n1, n2 (2 nodes) could not be read"]
    assert [group.text for group in group_findings(found[:1])] == ["n1 could not be read"]


def test_a_key_with_a_slash_is_shown_without_the_escape_of_a_json_pointer():
    change = Change("/env/management/api/allowList/127.0.0.0~18", Op.ADD, new="admin")
    assert format_change(change)[0].text == '/env/management/api/allowList/127.0.0.0/8: "admin"'


def test_a_run_without_an_effect_is_summarised_as_such():
    output = text.render_report_text(report(*[State.CHANGED] * 43))
    assert "Nothing was applied: 43 node changed; not verified." in output


def test_outcome_lines_name_the_node_and_why():
    output = [text.format_outcome(outcome) for outcome in partial().outcomes]
    assert output[0] == "failed        edge-seoul  upload  edge-01: the node answered 500: disk full"
    assert output[10] == "done          edge-seoul  upload  edge-11"


def test_a_comment_shows_how_each_step_is_undone_or_that_it_is_final():
    output = markdown.render_plan_markdown(FULL)
    for group in (group for groups in group_steps(PLAN).values() for group in groups):
        undo = escape_markdown(group.words(group.step.inverse.words))
        assert (f"**{undo}**" if group.step.inverse.final else f"undo: {undo}") in output
    assert output.count("undo: ") == 4
    assert output.count("**point of no return") == 1


def test_what_is_left_out_of_a_plan_is_said_and_shown_in_full():
    changes = tuple(Change(f"/hosting/{number}/name", Op.ADD, new="x" * 400) for number in range(30))
    steps = tuple(replace(upload(number), changes=changes) for number in range(1, 40, 2))
    view = PlanView(Plan(REVISION, "1", (ClusterPlan("edge", "m2", 20, 0, steps),)))
    short = text.render_plan_text(view)
    full = text.render_plan_text(view, layout=text.TerminalLayout(full=True))
    assert text.SHORTENED in short
    assert "… and 10 more changes" in short
    assert "edge-39" not in short
    assert text.SHORTENED not in full
    assert "…" not in full
    assert "edge-39" in full
    assert full.count("x" * 400) == len(changes)


def test_letters_that_look_alike_are_told_apart_by_their_unicode_form():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    (line,) = format_change(Change("/name", Op.REPLACE, decomposed, composed))
    assert "the same letters in another Unicode form" in line.text
    assert f'was "{decomposed}" (NFD), becomes "{composed}" (NFC)' in line.text
    lines = format_change(Change("/names", Op.REPLACE, [decomposed], [composed]))
    assert [line.text for line in lines[1:]] == [f'  "{decomposed}" (NFD)', f'  "{composed}"']
    (key,) = format_change(Change(f"/{decomposed}", Op.ADD, None, 1))
    assert "NFD" in key.text
