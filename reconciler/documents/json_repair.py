"""What is wrong where JSON is broken, and how to continue after it.

Each function gets a token that is wrong at its place, reports it once, and sets the state from which reading
continues. It returns True if the same token must be looked at again.

One mistake is to give one problem: after a guess that may be wrong, `is_reported`, `is_comma_optional` and
`is_bracket_count_lost` keep the follow-up errors quiet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.documents.json_stack import ParserStack, ParserState
from reconciler.documents.json_tokens import Token
from reconciler.documents.value_offsets import ValueOffsets
from reconciler.text.one_line import quote_text


def repair_token(stack: ParserStack, token: Token) -> bool:
    """Report what is wrong with a token; True if it must be looked at again."""
    if token.kind == "end":
        _check_end(stack, token)
        return False
    if stack.frames and token.kind in {"}", "]"} and token.kind != stack.frames[-1].closer:
        _report_wrong_bracket(stack, token)
        return False
    return _REPAIRS[stack.state](stack, token)


def _repair_value(stack: ParserStack, token: Token) -> bool:
    in_object = bool(stack.frames) and stack.frames[-1].opener == "{"
    if in_object and token.kind in {",", ";", "}"}:
        if not stack.is_reported:
            message = f"the name {quote_text(str(stack.frames[-1].name))} has no value"
            # Before a closing bracket, the opening one may be what is missing.
            report = stack.report_structure if token.kind == "}" else stack.problem_list.add
            report(token.start, "missing-value", message, "write the value here, or `null`")
        _attach_null(stack)
        if token.kind != ";":
            return True
        stack.take_comma(token)
        return False
    if stack.frames and token.kind in {",", ";"}:
        _report_extra_comma(stack, token)
    elif stack.frames and token.kind == "]":
        _report_trailing_comma(stack, token)
        return True
    else:
        _report_unexpected(stack, token, "a value")
        stack.is_finished = not stack.frames
    return False


def _repair_name(stack: ParserStack, token: Token) -> bool:
    is_in_array = len(stack.frames) > 1 and stack.frames[-2].opener == "["
    if token.kind == "}":
        _report_trailing_comma(stack, token)
        return True
    if token.kind == "string":  # without an end, so its value and colon are lost in it
        stack.open_member(token)
        _attach_null(stack)
    elif token.kind == "word" and stack.lexer.colon_follows(token):
        message = f"the name {quote_text(token.value)} is not in quotes"
        stack.problem_list.add(token.start, "unquoted-name", message, f'write `"{token.value}"`')
        stack.open_member(token)
    elif token.kind in {",", ";"}:
        _report_extra_comma(stack, token)
    elif token.kind == "word":
        _report_unexpected(stack, token, "a name in quotes, then a colon")
        stack.state, stack.is_comma_optional = ParserState.AFTER, True
    elif token.kind == "{" and stack.state is ParserState.NAME and is_in_array:
        # `[{"a": 1, {`: the object before the comma lacks its end, and this one is the next item.
        _report_unclosed(stack, stack.comma)
        stack.state = ParserState.VALUE
        return True
    else:
        before = "the colon" if token.kind in {":", "="} else "this value"
        message = f"the name before {before} is missing"
        stack.report_structure(token.start, "missing-name", message, 'write `"name":`')
        stack.frames[-1].name = None
        stack.state = ParserState.VALUE
        return token.kind not in {":", "="}
    return False


def _repair_colon(stack: ParserStack, token: Token) -> bool:
    name = quote_text(str(stack.frames[-1].name))
    if token.kind in {"=", ";"}:
        message = f"expected `:`, got {_quote(stack, token)}"
        stack.problem_list.add(token.start, "wrong-colon", message, "write `:`")
        stack.state = ParserState.VALUE
    elif token.kind in {",", "}"}:
        message = f"the name {name} has no value"
        stack.report_structure(stack.end, "missing-value", message, "write `:` and a value here")
        _attach_null(stack)
        return True
    elif not _repair_stray_quote(stack, token):
        message = f"missing `:` after the name {name}"
        stack.problem_list.add(stack.end, "missing-colon", message, "insert `:` here")
        _reread_as_value(stack, token)
    return False


def _repair_after(stack: ParserStack, token: Token) -> bool:
    frame = stack.frames[-1]
    if token.kind == ";":
        remedy = "remove it" if stack.lexer.closer_follows(token) else "write `,`"
        stack.problem_list.add(token.start, "semicolon", "expected `,`, got `;`", remedy)
        stack.take_comma(token)
        stack.is_reported = True
    elif token.kind in {":", "="}:
        _repair_stray_colon(stack, token)
    elif _repair_stray_quote(stack, token):
        pass
    elif frame.opener == "[" or (token.kind in {"string", "word"} and stack.lexer.colon_follows(token)):
        if not stack.is_comma_optional:
            message = f"missing comma before {_quote(stack, token)}"
            stack.problem_list.add(stack.end, "missing-comma", message, "insert `,` here")
        stack.is_comma_optional = False
        if frame.opener == "[":
            _reread_as_value(stack, token)
        else:
            stack.state = ParserState.NAME
            return True
    else:
        _report_unexpected(stack, token, "a comma or `}`")
        stack.is_comma_optional = True
        if token.kind in {"{", "["}:
            frame.name = None
            stack.state = ParserState.VALUE
            return True
    return False


def _repair_done(stack: ParserStack, token: Token) -> bool:
    position = stack.problem_list.lines.at(stack.end)
    end = f"{position.line}:{position.column}"
    message = f"unexpected {_quote(stack, token)} after the end of the document at {end}"
    remedy = "remove it, or look for a bracket that closes too early"
    stack.report_structure(token.start, "after-the-end", message, remedy, related=position)
    stack.is_finished = True
    return False


_REPAIRS: Mapping[ParserState, Callable[[ParserStack, Token], bool]] = {
    ParserState.VALUE: _repair_value,
    ParserState.FIRST_ITEM: _repair_value,
    ParserState.FIRST_NAME: _repair_name,
    ParserState.NAME: _repair_name,
    ParserState.COLON: _repair_colon,
    ParserState.AFTER: _repair_after,
    ParserState.DONE: _repair_done,
}


def _attach_null(stack: ParserStack) -> None:
    start = stack.frames[-1].name_start
    stack.attach(None, ValueOffsets(start, start))
    stack.state, stack.is_comma_optional, stack.text_end = ParserState.AFTER, True, -1


def _report_extra_comma(stack: ParserStack, token: Token) -> None:
    message = f"unexpected `{token.kind}`: there is no value before it"
    if stack.state in {ParserState.FIRST_ITEM, ParserState.FIRST_NAME}:
        closer = stack.frames[-1].closer
        stack.report_structure(token.start, "extra-comma", message, f"remove it, or put `{closer}` before it")
    elif not stack.is_reported:
        stack.problem_list.add(token.start, "extra-comma", message, "remove it")
    stack.is_reported, stack.comma = True, token.start


def _report_trailing_comma(stack: ParserStack, token: Token) -> None:
    stack.state = ParserState.AFTER
    if not stack.is_reported:
        message = f"trailing comma before the closing `{token.kind}`"
        stack.problem_list.add(stack.comma, "trailing-comma", message, "remove it")


def _repair_stray_colon(stack: ParserStack, token: Token) -> None:
    frame = stack.frames[-1]
    if name := _find_outer_name(stack):
        offsets = frame.offsets.items.pop() if frame.offsets.items else frame.offsets
        _report_unclosed(stack, offsets.start)
        stack.open_member(name)
        stack.state = ParserState.VALUE
        return
    if frame.opener == "[":
        message, remedy = "an array cannot have names", "put the member into `{` and `}`"
    else:
        message = "this member has two colons"
        remedy = "put `,` between members, and names into quotes"
    stack.report_structure(token.start, "stray-colon", message, remedy)
    frame.name = None
    stack.state, stack.is_reported = ParserState.VALUE, True


def _find_outer_name(stack: ParserStack) -> Token | None:
    """The text before a colon in an array, if it starts a line: then the array probably lacks its end."""
    items = stack.frames[-1].offsets.items
    if not items or stack.text_end < 0 or len(stack.frames) == 1:
        return None
    start, lines = items[-1].start, stack.problem_list.lines
    if stack.frames[-2].opener == "[" or not lines.indentation(start)[1]:
        return None
    return Token("string", start, stack.text_end, stack.frames[-1].value[-1])


def _repair_stray_quote(stack: ParserStack, token: Token) -> bool:
    """Whether a token directly follows a closing quote, which then ended the text too early."""
    if token.start != stack.text_end or token.kind not in {"string", "word"}:
        return False
    if token.kind == "string" and token.is_broken:
        return True
    if token.kind == "string" and (stack.frames[-1].opener == "[" or stack.lexer.colon_follows(token)):
        return False
    message = f"unexpected {_quote(stack, token)} directly after a closing quote"
    remedy = 'write `\\"` for a quote inside a text, or look for a missing quote before this place'
    stack.problem_list.add(token.start - 1, "stray-quote", message, remedy)
    # The rest of the line was probably meant as text: skip it, and rely on no bracket after it.
    stack.lexer.offset = token.start
    stack.lexer.skip_line()
    stack.lexer.is_bracket_count_lost = True
    if stack.state is ParserState.COLON:
        _attach_null(stack)
    stack.is_comma_optional, stack.text_end = True, -1
    return True


def _report_unexpected(stack: ParserStack, token: Token, wanted: str) -> None:
    what = _quote(stack, token)
    remedy = "correct it"
    if not what.strip("`.…"):
        remedy = (
            "write what the dots stand for: in a sample they leave something out, and JSON has no such sign"
        )
    stack.report_structure(token.start, "unexpected", f"unexpected {what}, expected {wanted}", remedy)
    stack.is_reported = True


def _reread_as_value(stack: ParserStack, token: Token) -> None:
    """Read a token once more, as a value."""
    stack.lexer.offset = token.start
    stack.state = ParserState.VALUE


def _quote(stack: ParserStack, token: Token) -> str:
    return quote_text(stack.text[token.start : token.end])


def _check_end(stack: ParserStack, token: Token) -> None:
    """The text ends: no container may be open."""
    stack.is_finished = True
    if not stack.frames:
        if stack.state is ParserState.VALUE and not stack.lexer.is_bracket_count_lost:
            message = "the file contains no value"
            stack.problem_list.add(token.start, "empty-file", message, "write a JSON document")
        return
    frame = stack.frames[-1]
    missing = "".join(open_frame.closer for open_frame in reversed(stack.frames))
    start, opener = frame.offsets.start, frame.opener
    remedy = f"add {quote_text(missing)} at the end of the file"
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


def _report_wrong_bracket(stack: ParserStack, token: Token) -> None:
    """A closing bracket of the other kind: it closes the nearest container of its kind."""
    frame = stack.frames[-1]
    position = stack.problem_list.lines.at(frame.offsets.start)
    opened = f"the `{frame.opener}` at {position.line}:{position.column}"
    message = f"unexpected `{token.kind}`: {opened} is still open"
    remedy = f"put `{frame.closer}` before it, or replace it"
    stack.report_structure(token.start, "wrong-bracket", message, remedy, related=position)
    # Up to its own kind, or every bracket after this one would be reported as well.
    if any(token.kind == outer.closer for outer in stack.frames):
        while token.kind != stack.frames[-1].closer:
            stack.frames.pop()
    stack.close(token)


def _report_unclosed(stack: ParserStack, offset: int) -> None:
    """The innermost container should have ended before an offset, as the text there shows."""
    frame = stack.frames.pop()
    position = stack.problem_list.lines.at(offset)
    remedy = f"put `{frame.closer}` before {position.line}:{position.column}"
    message = f"this `{frame.opener}` is not closed"
    stack.report_structure(frame.offsets.start, "unclosed", message, remedy, related=position)
    stack.state = ParserState.AFTER
