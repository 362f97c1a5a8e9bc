"""Equal findings and violations of many nodes or clusters, gathered for people; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from reconciler.diagnostic import NOWHERE, Diagnostic, Severity
from reconciler.text.node_names import (
    EACH_NODE,
    format_node_names,
    generalise_sentence,
    generalise_urls,
    group_by_key,
    make_natural_key,
    merge_urls,
)
from reconciler.text.one_line import clean_line

MOST_VARIANTS: Final = 10
"""Up to so many different sentences about nodes of one cluster, with one code, are shown; of more, one stands
for all."""

_EACH_CLUSTER: Final = "each cluster"
_VERBS: Final = tuple(f"{EACH_NODE} {verb} " for verb in ("can", "cannot", "could", "must", "may", "did"))
_WEIGHTS: Final = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """One finding about one target or several; `who` is empty if the message names its target.

    Args:
        finding: the first of the findings; its message and remedy can be shown as they are.
        variants: how many different sentences it stands for.
    """

    finding: Diagnostic
    who: str
    variants: int = 1

    @property
    def text(self) -> str:
        """Targets and message as one sentence."""
        message = self.finding.message
        if not self.who:
            return message
        if self.variants > 1:
            return f"{self.who}, with {self.variants:,} different messages, such as: {message}"
        for each in (EACH_NODE, _EACH_CLUSTER):
            message = message.removeprefix(f"{each}: ")
        # These verbs have one form: "edge-01, edge-02 (2 nodes) could not be read".
        if message.startswith(_VERBS):
            return f"{self.who} {message.removeprefix(f'{EACH_NODE} ')}"
        return f"{self.who}: {message}"


def group_findings(findings: Iterable[Diagnostic], *, full: bool = False) -> list[FindingGroup]:
    """Equal findings together, errors first.

    Args:
        findings: of any targets.
        full: show each different sentence, and name every node.
    """

    def make_sort(finding: Diagnostic) -> tuple[str | bool, ...]:
        place = finding.cluster if _is_node(finding) else ""
        remedy = _generalise(finding, finding.remedy)
        return finding.severity, finding.code, finding.hold, _is_node(finding), place, remedy

    def make_key(finding: Diagnostic) -> str:
        text = _generalise(finding, finding.located)
        return generalise_urls(text) if _is_node(finding) and "://" not in finding.target else text

    result: list[FindingGroup] = []
    for kin in group_by_key(findings, make_sort):
        groups = group_by_key(kin, make_key)
        if len(groups) > MOST_VARIANTS and _is_node(kin[0]) and not full:
            result.append(_gather(kin, len(groups)))
        else:
            result += (_gather(group, 1, full=full) for group in groups)
    return sorted(result, key=lambda group: _WEIGHTS[group.finding.severity])


def _gather(findings: Sequence[Diagnostic], variants: int, *, full: bool = False) -> FindingGroup:
    """The group of findings that differ in nothing but their target, or that one of them stands for."""
    first = findings[0]
    is_one = len(findings) == 1
    shown = replace(
        first,
        code=clean_line(first.code),
        message=clean_line(first.located) if is_one or variants > 1 else _describe_all(findings),
        remedy=clean_line(first.remedy) if is_one else _generalise(first, first.remedy),
        position=NOWHERE,
        target="",
    )
    if is_one and _generalise(first, first.located) != clean_line(first.located):
        return FindingGroup(shown, "")
    names = sorted({_get_name(finding.target) for finding in findings}, key=make_natural_key)
    noun = "nodes" if _is_node(first) else "clusters"
    return FindingGroup(shown, format_node_names(names, noun=noun, full=full), variants)


def _describe_all(findings: Sequence[Diagnostic]) -> str:
    """The message of several findings that differ in the names and addresses of their nodes."""
    texts = [_generalise(finding, finding.located) for finding in findings]
    return merge_urls(texts)


def _generalise(finding: Diagnostic, text: str) -> str:
    """A sentence of a finding that is the same for all targets of which the same is true."""
    name = _get_name(finding.target)
    return generalise_sentence(text, name, EACH_NODE if _is_node(finding) else _EACH_CLUSTER)


def _is_node(finding: Diagnostic) -> bool:
    # A finding about a feedback address has the address as its target, and is grouped as one about a node is.
    return "/" in finding.target


def _get_name(target: str) -> str:
    """The node of `cluster/node`; a target of another form as it is."""
    return target if "://" in target else target.partition("/")[2] or target
