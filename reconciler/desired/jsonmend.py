"""What is wrong where JSON does not go on as it should, and how to read on behind it.

Each function gets a word that does not belong where it stands, tells of it once, and sets the state
from which reading goes on. It gives True where the same word is to be looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.desired.jsonlex import Token
from reconciler.desired.jsonstack import Stack, State
from reconciler.desired.lines import quoted
from reconciler.desired.places import Place


def mend(stack: Stack, token: Token) -> bool:
    """Tell what is wrong with a word; True where it is to be looked at again."""
    if token.kind == "end":
        _end(stack, token)
        return False
    if stack.frames and token.kind in {"}", "]"} and token.kind != stack.frames[-1].closer:
        _wrong_bracket(stack, token)
        return False
    return _MENDERS[stack.state](stack, token)


def _value(stack: Stack, token: Token) -> bool:
    in_object = bool(stack.frames) and stack.frames[-1].opener == "{"
    if in_object and token.kind in {",", ";", "}"}:
        _no_value(stack, token.start)
        return token.kind != ";" or _as_comma(stack, token)
    if stack.frames and token.kind in {",", ";"}:
        _extra(stack, token)
    elif stack.frames and token.kind == "]":
        _trailing_comma(stack, token)
        return True
    else:
        _unexpected(stack, token, "a value belongs here")
        stack.finished = not stack.frames
    return False


def _name(stack: Stack, token: Token) -> bool:
    if token.kind == "}":
        _trailing_comma(stack, token)
        return True
    if token.kind == "string":  # without an end: nothing is known of its value
        stack.named(token)
        _without_value(stack)
    elif token.kind == "word" and stack.lexer.colon_follows(token):
        message = f"the name {quoted(token.value)} stands without quotes"
        stack.complaints.add(token.start, "unquoted-name", message, f"write {_in_quotes(token.value)}")
        stack.named(token)
    elif token.kind in {",", ";"}:
        _extra(stack, token)
    elif token.kind == "word":
        _unexpected(stack, token, "a name in quotes and a colon belong here")
        stack.state, stack.loose = State.AFTER, True
    else:
        before = "the colon" if token.kind in {":", "="} else "this value"
        message = f"no name stands before {before}"
        stack.complaints.add(token.start, "missing-name", message, 'write `"name":`')
        stack.frames[-1].name = None
        stack.state = State.VALUE
        return token.kind not in {":", "="}
    return False


def _colon(stack: Stack, token: Token) -> bool:
    name = quoted(str(stack.frames[-1].name))
    if token.kind in {"=", ";"}:
        message = f"{quoted(_words(stack, token))} stands where `:` belongs"
        stack.complaints.add(token.start, "wrong-colon", message, "write `:`")
        stack.state = State.VALUE
    elif token.kind in {",", "}"}:
        _no_value(stack, stack.end, name)
        return True
    elif not _stray_quote(stack, token):
        message = f"no colon stands behind the name {name}"
        stack.complaints.add(stack.end, "missing-colon", message, "put `:` here")
        _look_again(stack, token)
    return False


def _after(stack: Stack, token: Token) -> bool:
    frame = stack.frames[-1]
    if token.kind == ";":
        remedy = "remove it" if stack.lexer.closer_follows(token) else "write `,`"
        stack.complaints.add(token.start, "semicolon", "`;` stands where `,` belongs", remedy)
        stack.told = _as_comma(stack, token) is False
    elif token.kind in {":", "="}:
        _stray_colon(stack, token)
    elif _stray_quote(stack, token):
        pass
    elif frame.opener == "[" or (token.kind in {"string", "word"} and stack.lexer.colon_follows(token)):
        if not stack.loose:
            what = quoted(_words(stack, token))
            stack.complaints.add(stack.end, "missing-comma", f"no comma stands before {what}", "put `,` here")
        stack.loose = False
        if frame.opener == "[":
            _look_again(stack, token)
        else:
            stack.state = State.NAME
            return True
    else:
        if not stack.loose:
            _unexpected(stack, token, "a comma or `}` belongs here")
        stack.loose = True
        if token.kind in {"{", "["}:
            frame.name = None
            stack.state = State.VALUE
            return True
    return False


def _done(stack: Stack, token: Token) -> bool:
    if not stack.lexer.lost:
        place = stack.complaints.lines.at(stack.end)
        what = quoted(_words(stack, token))
        message = f"{what} stands behind the end of the document, which is at {place.line}:{place.column}"
        remedy = "remove it, or look for a bracket that closes too early"
        stack.complaints.add(token.start, "after-the-end", message, remedy)
    stack.finished = True
    return False


_MENDERS: Mapping[State, Callable[[Stack, Token], bool]] = {
    State.VALUE: _value,
    State.FIRST_ITEM: _value,
    State.FIRST_NAME: _name,
    State.NAME: _name,
    State.COLON: _colon,
    State.AFTER: _after,
    State.DONE: _done,
}


def _end(stack: Stack, token: Token) -> None:
    stack.finished = True
    if not stack.frames:
        if stack.state is State.VALUE and not stack.lexer.lost:
            message = "the file holds no value"
            stack.complaints.add(token.start, "empty-file", message, "write a JSON document")
        return
    if stack.lexer.lost:
        return
    frame = stack.frames[-1]
    missing = "".join(open_frame.closer for open_frame in reversed(stack.frames))
    start, opener, remedy = frame.place.start, frame.opener, f"the file ends without {quoted(missing)}"
    if likely := _misplaced(stack):
        start, closer = likely
        opener = stack.text[start]
        place = stack.complaints.lines.at(closer)
        remedy = f"to judge by the indentation, its end is missing before {place.line}:{place.column}"
    stack.complaints.add(start, "unclosed", f"the `{opener}` here is never closed", remedy)


def _misplaced(stack: Stack) -> tuple[int, int] | None:
    """The first pair of brackets of which the closing one begins a line that is indented less."""
    lines = stack.complaints.lines
    for opener, closer in stack.pairs:
        indented, begins_line = lines.indentation(closer)
        outside = begins_line and indented < lines.indentation(opener)[0]
        if outside and lines.at(opener).line < lines.at(closer).line:
            return opener, closer
    return None


def _wrong_bracket(stack: Stack, token: Token) -> None:
    frame = stack.frames[-1]
    if not stack.lexer.lost:
        place = stack.complaints.lines.at(frame.place.start)
        opened = f"the `{frame.opener}` of {place.line}:{place.column}"
        message = f"`{token.kind}` stands here while {opened} is open"
        remedy = f"put `{frame.closer}` before it or in its place"
        stack.complaints.add(token.start, "wrong-bracket", message, remedy)
    stack.lexer.lost = True
    if any(token.kind == outer.closer for outer in stack.frames):
        while token.kind != stack.frames[-1].closer:
            stack.frames.pop()
    stack.close(token)


def _no_value(stack: Stack, offset: int, name: str = "") -> None:
    name = name or quoted(str(stack.frames[-1].name))
    if not stack.told:
        message = f"the name {name} has no value"
        stack.complaints.add(offset, "missing-value", message, "write the value here, or `null`")
    _without_value(stack)


def _without_value(stack: Stack) -> None:
    place = stack.frames[-1].name_start
    stack.attach(None, Place(place, place))
    stack.state, stack.loose, stack.text_end = State.AFTER, True, -1


def _as_comma(stack: Stack, token: Token) -> bool:
    """Take a word for the comma that it stands for."""
    stack.comma, stack.loose = token.start, False
    stack.state = State.NAME if stack.frames[-1].opener == "{" else State.VALUE
    return False


def _extra(stack: Stack, token: Token) -> None:
    if not stack.told:
        message = f"`{token.kind}` stands here with nothing before it"
        stack.complaints.add(token.start, "extra-comma", message, "remove it")
    stack.told, stack.comma = True, token.start


def _trailing_comma(stack: Stack, token: Token) -> None:
    stack.state = State.AFTER
    if not stack.told:
        message = f"a comma stands before the closing `{token.kind}`"
        stack.complaints.add(stack.comma, "trailing-comma", message, "remove it")


def _stray_colon(stack: Stack, token: Token) -> None:
    frame = stack.frames[-1]
    if frame.opener == "[":
        message, remedy = "an array has no names", "put the member into `{` and `}`"
    else:
        message = "a second colon stands in one member"
        remedy = "put `,` between members, and names into quotes"
    if not stack.loose:
        stack.complaints.add(token.start, "stray-colon", message, remedy)
    frame.name = None
    stack.state, stack.told = State.VALUE, True


def _stray_quote(stack: Stack, token: Token) -> bool:
    """Whether a word stands right behind a closing quote, which then ended the text too early."""
    if token.start != stack.text_end or token.kind not in {"string", "word"}:
        return False
    if token.kind == "string" and token.broken:
        return True
    if token.kind == "string" and (stack.frames[-1].opener == "[" or stack.lexer.colon_follows(token)):
        return False
    message = f"{quoted(_words(stack, token))} stands right behind the end of a text"
    remedy = 'write `\\"` for a quote within text, or look for one that is missing before'
    stack.complaints.add(token.start - 1, "stray-quote", message, remedy)
    stack.lexer.offset = token.start
    stack.lexer.skip_line()
    if stack.state is State.COLON:
        _without_value(stack)
    stack.loose, stack.text_end = True, -1
    return True


def _unexpected(stack: Stack, token: Token, wanted: str) -> None:
    if not stack.told:
        what = quoted(_words(stack, token))
        stack.complaints.add(token.start, "unexpected", f"{what} stands here, but {wanted}", "correct it")
    stack.told = True


def _look_again(stack: Stack, token: Token) -> None:
    """Read a word once more, as the value that it stands for."""
    stack.lexer.offset = token.start
    stack.state = State.VALUE


def _words(stack: Stack, token: Token) -> str:
    return stack.text[token.start : token.end]


def _in_quotes(words: str) -> str:
    return f'`"{words}"`'
