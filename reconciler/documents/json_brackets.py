"""Brackets that do not match: not closed, or closed by the wrong one."""

from __future__ import annotations

from reconciler.documents.json_stack import ParserStack, ParserState
from reconciler.documents.json_tokens import Token
from reconciler.text.one_line import quote_text


def check_end(stack: ParserStack, token: Token) -> None:
    """The text ends: no container may be open."""
    stack.finished = True
    if not stack.frames:
        if stack.state is ParserState.VALUE and not stack.lexer.is_bracket_count_lost:
            message = "the file contains no value"
            stack.problem_list.add(token.start, "empty-file", message, "write a JSON document")
        return
    frame = stack.frames[-1]
    missing = "".join(open_frame.closer for open_frame in reversed(stack.frames))
    start, opener, remedy = (
        frame.offsets.start,
        frame.opener,
        f"add {quote_text(missing)} at the end of the file",
    )
    position = None
    if likely := _find_misplaced_pair(stack):
        start, closer = likely
        opener = stack.text[start]
        position = stack.problem_list.lines.at(closer)
        remedy = f"the indentation suggests that its end is missing before {position.line}:{position.column}"
    stack.report_structure(start, "unclosed", f"this `{opener}` is not closed", remedy, related=position)


def _find_misplaced_pair(stack: ParserStack) -> tuple[int, int] | None:
    """The first pair whose closing bracket starts a line that is indented less than the opening one.

    The bracket that is missing is seldom at the end of the file: the indentation shows where it was left out.
    """
    lines = stack.problem_list.lines
    for opener, closer in stack.pairs:
        indented, begins_line = lines.indentation(closer)
        outside = begins_line and indented < lines.indentation(opener)[0]
        if outside and lines.at(opener).line < lines.at(closer).line:
            return opener, closer
    return None


def report_wrong_bracket(stack: ParserStack, token: Token) -> None:
    """A closing bracket of the other kind: it closes the nearest container of its kind."""
    frame = stack.frames[-1]
    position = stack.problem_list.lines.at(frame.offsets.start)
    opened = f"the `{frame.opener}` at {position.line}:{position.column}"
    message = f"unexpected `{token.kind}`: {opened} is still open"
    remedy = f"put `{frame.closer}` before it, or replace it"
    stack.report_structure(token.start, "wrong-bracket", message, remedy, related=position)
    if any(token.kind == outer.closer for outer in stack.frames):
        while token.kind != stack.frames[-1].closer:
            stack.frames.pop()
    stack.close(token)


def report_unclosed(stack: ParserStack, offset: int) -> None:
    """The innermost container should have ended before an offset, as the text there shows."""
    frame = stack.frames.pop()
    position = stack.problem_list.lines.at(offset)
    remedy = f"put `{frame.closer}` before {position.line}:{position.column}"
    message = f"this `{frame.opener}` is not closed"
    stack.report_structure(frame.offsets.start, "unclosed", message, remedy, related=position)
    stack.state = ParserState.AFTER
