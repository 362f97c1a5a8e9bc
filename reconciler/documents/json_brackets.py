"""Brackets that do not fit: left open, closed by the wrong one, or open at the end of the text."""

from __future__ import annotations

from reconciler.documents.json_stack import ParserStack, ParserState
from reconciler.documents.json_tokens import Token
from reconciler.text.one_line import quote_text


def check_end(stack: ParserStack, token: Token) -> None:
    """The text ends: nothing may be open."""
    stack.finished = True
    if not stack.frames:
        if stack.state is ParserState.VALUE and not stack.lexer.lost:
            message = "the file contains no value"
            stack.complaints.add(token.start, "empty-file", message, "write a JSON document")
        return
    frame = stack.frames[-1]
    missing = "".join(open_frame.closer for open_frame in reversed(stack.frames))
    start, opener, remedy = (
        frame.place.start,
        frame.opener,
        f"add {quote_text(missing)} at the end of the file",
    )
    place = None
    if likely := _misplaced(stack):
        start, closer = likely
        opener = stack.text[start]
        place = stack.complaints.lines.at(closer)
        remedy = f"the indentation suggests that its end is missing before {place.line}:{place.column}"
    stack.doubt(start, "unclosed", f"this `{opener}` is not closed", remedy, related=place)


def _misplaced(stack: ParserStack) -> tuple[int, int] | None:
    """The first pair of brackets of which the closing one begins a line that is indented less."""
    lines = stack.complaints.lines
    for opener, closer in stack.pairs:
        indented, begins_line = lines.indentation(closer)
        outside = begins_line and indented < lines.indentation(opener)[0]
        if outside and lines.at(opener).line < lines.at(closer).line:
            return opener, closer
    return None


def report_wrong_bracket(stack: ParserStack, token: Token) -> None:
    """A closing bracket of the other kind: some frame is closed by it."""
    frame = stack.frames[-1]
    place = stack.complaints.lines.at(frame.place.start)
    opened = f"the `{frame.opener}` at {place.line}:{place.column}"
    message = f"unexpected `{token.kind}`: {opened} is still open"
    remedy = f"put `{frame.closer}` before it, or replace it"
    stack.doubt(token.start, "wrong-bracket", message, remedy, related=place)
    if any(token.kind == outer.closer for outer in stack.frames):
        while token.kind != stack.frames[-1].closer:
            stack.frames.pop()
    stack.close(token)


def report_unclosed(stack: ParserStack, offset: int) -> None:
    """The innermost frame should have ended before an offset, as what stands there shows."""
    frame = stack.frames.pop()
    place = stack.complaints.lines.at(offset)
    remedy = f"put `{frame.closer}` before {place.line}:{place.column}"
    message = f"this `{frame.opener}` is not closed"
    stack.doubt(frame.place.start, "unclosed", message, remedy, related=place)
    stack.state = ParserState.AFTER
