"""What is wrong where JSON does not go on as it should, and how to read on behind it.

Each function gets a word that does not belong where it stands, tells of it once, and sets the state
from which reading goes on. It gives True where the same word is to be looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.documents.json_brackets import check_end, report_unclosed, report_wrong_bracket
from reconciler.documents.json_stack import ParserStack, ParserState
from reconciler.documents.json_tokens import Token
from reconciler.documents.value_offsets import ValueOffsets
from reconciler.text.one_line import quote_text


def repair_token(stack: ParserStack, token: Token) -> bool:
    """Tell what is wrong with a word; True where it is to be looked at again."""
    if token.kind == "end":
        check_end(stack, token)
        return False
    if stack.frames and token.kind in {"}", "]"} and token.kind != stack.frames[-1].closer:
        report_wrong_bracket(stack, token)
        return False
    return _MENDERS[stack.state](stack, token)


def _value(stack: ParserStack, token: Token) -> bool:
    in_object = bool(stack.frames) and stack.frames[-1].opener == "{"
    if in_object and token.kind in {",", ";", "}"}:
        _no_value(stack, token)
        return token.kind != ";" or _as_comma(stack, token)
    if stack.frames and token.kind in {",", ";"}:
        _extra(stack, token)
    elif stack.frames and token.kind == "]":
        _trailing_comma(stack, token)
        return True
    else:
        _unexpected(stack, token, "a value")
        stack.finished = not stack.frames
    return False


def _name(stack: ParserStack, token: Token) -> bool:
    is_in_array = len(stack.frames) > 1 and stack.frames[-2].opener == "["
    if token.kind == "}":
        _trailing_comma(stack, token)
        return True
    if token.kind == "string":  # without an end: nothing is known of its value
        stack.named(token)
        _without_value(stack)
    elif token.kind == "word" and stack.lexer.colon_follows(token):
        message = f"the name {quote_text(token.value)} is not in quotes"
        stack.complaints.add(token.start, "unquoted-name", message, f'write `"{token.value}"`')
        stack.named(token)
    elif token.kind in {",", ";"}:
        _extra(stack, token)
    elif token.kind == "word":
        _unexpected(stack, token, "a name in quotes, then a colon")
        stack.state, stack.loose = ParserState.AFTER, True
    elif token.kind == "{" and stack.state is ParserState.NAME and is_in_array:
        report_unclosed(stack, stack.comma)
        stack.state = ParserState.VALUE
        return True
    else:
        before = "the colon" if token.kind in {":", "="} else "this value"
        message = f"the name before {before} is missing"
        stack.doubt(token.start, "missing-name", message, 'write `"name":`')
        stack.frames[-1].name = None
        stack.state = ParserState.VALUE
        return token.kind not in {":", "="}
    return False


def _colon(stack: ParserStack, token: Token) -> bool:
    name = quote_text(str(stack.frames[-1].name))
    if token.kind in {"=", ";"}:
        message = f"expected `:`, got {quote_text(_words(stack, token))}"
        stack.complaints.add(token.start, "wrong-colon", message, "write `:`")
        stack.state = ParserState.VALUE
    elif token.kind in {",", "}"}:
        message = f"the name {name} has no value"
        stack.doubt(stack.end, "missing-value", message, "write `:` and a value here")
        _without_value(stack)
        return True
    elif not _stray_quote(stack, token):
        message = f"missing `:` after the name {name}"
        stack.complaints.add(stack.end, "missing-colon", message, "insert `:` here")
        _look_again(stack, token)
    return False


def _after(stack: ParserStack, token: Token) -> bool:
    frame = stack.frames[-1]
    if token.kind == ";":
        remedy = "remove it" if stack.lexer.closer_follows(token) else "write `,`"
        stack.complaints.add(token.start, "semicolon", "expected `,`, got `;`", remedy)
        stack.told = _as_comma(stack, token) is False
    elif token.kind in {":", "="}:
        _stray_colon(stack, token)
    elif _stray_quote(stack, token):
        pass
    elif frame.opener == "[" or (token.kind in {"string", "word"} and stack.lexer.colon_follows(token)):
        if not stack.loose:
            what = quote_text(_words(stack, token))
            stack.complaints.add(
                stack.end, "missing-comma", f"missing comma before {what}", "insert `,` here"
            )
        stack.loose = False
        if frame.opener == "[":
            _look_again(stack, token)
        else:
            stack.state = ParserState.NAME
            return True
    else:
        _unexpected(stack, token, "a comma or `}`")
        stack.loose = True
        if token.kind in {"{", "["}:
            frame.name = None
            stack.state = ParserState.VALUE
            return True
    return False


def _done(stack: ParserStack, token: Token) -> bool:
    place = stack.complaints.lines.at(stack.end)
    what = quote_text(_words(stack, token))
    message = f"unexpected {what} after the end of the document at {place.line}:{place.column}"
    remedy = "remove it, or look for a bracket that closes too early"
    stack.doubt(token.start, "after-the-end", message, remedy, related=place)
    stack.finished = True
    return False


_MENDERS: Mapping[ParserState, Callable[[ParserStack, Token], bool]] = {
    ParserState.VALUE: _value,
    ParserState.FIRST_ITEM: _value,
    ParserState.FIRST_NAME: _name,
    ParserState.NAME: _name,
    ParserState.COLON: _colon,
    ParserState.AFTER: _after,
    ParserState.DONE: _done,
}


def _no_value(stack: ParserStack, token: Token) -> None:
    """A colon with nothing behind it; before a bracket, the opening one may be what is missing."""
    if not stack.told:
        message = f"the name {quote_text(str(stack.frames[-1].name))} has no value"
        tell = stack.doubt if token.kind == "}" else stack.complaints.add
        tell(token.start, "missing-value", message, "write the value here, or `null`")
    _without_value(stack)


def _without_value(stack: ParserStack) -> None:
    place = stack.frames[-1].name_start
    stack.attach(None, ValueOffsets(place, place))
    stack.state, stack.loose, stack.text_end = ParserState.AFTER, True, -1


def _as_comma(stack: ParserStack, token: Token) -> bool:
    """Take a word for the comma that it stands for."""
    stack.comma, stack.loose = token.start, False
    stack.state = ParserState.NAME if stack.frames[-1].opener == "{" else ParserState.VALUE
    return False


def _extra(stack: ParserStack, token: Token) -> None:
    message = f"unexpected `{token.kind}`: there is no value before it"
    if stack.state in {ParserState.FIRST_ITEM, ParserState.FIRST_NAME}:
        closer = stack.frames[-1].closer
        stack.doubt(token.start, "extra-comma", message, f"remove it, or put `{closer}` before it")
    elif not stack.told:
        stack.complaints.add(token.start, "extra-comma", message, "remove it")
    stack.told, stack.comma = True, token.start


def _trailing_comma(stack: ParserStack, token: Token) -> None:
    stack.state = ParserState.AFTER
    if not stack.told:
        message = f"trailing comma before the closing `{token.kind}`"
        stack.complaints.add(stack.comma, "trailing-comma", message, "remove it")


def _stray_colon(stack: ParserStack, token: Token) -> None:
    frame = stack.frames[-1]
    if name := _name_of_outer(stack):
        place = frame.place.items.pop() if frame.place.items else frame.place
        report_unclosed(stack, place.start)
        stack.named(name)
        stack.state = ParserState.VALUE
        return
    if frame.opener == "[":
        message, remedy = "an array cannot have names", "put the member into `{` and `}`"
    else:
        message = "this member has two colons"
        remedy = "put `,` between members, and names into quotes"
    stack.doubt(token.start, "stray-colon", message, remedy)
    frame.name = None
    stack.state, stack.told = ParserState.VALUE, True


def _name_of_outer(stack: ParserStack) -> Token | None:
    """The text before a colon in an array, if it begins a line: then the array should have ended."""
    items = stack.frames[-1].place.items
    if not items or stack.text_end < 0 or len(stack.frames) == 1:
        return None
    start, lines = items[-1].start, stack.complaints.lines
    if stack.frames[-2].opener == "[" or not lines.indentation(start)[1]:
        return None
    return Token("string", start, stack.text_end, stack.frames[-1].value[-1])


def _stray_quote(stack: ParserStack, token: Token) -> bool:
    """Whether a word stands right behind a closing quote, which then ended the text too early."""
    if token.start != stack.text_end or token.kind not in {"string", "word"}:
        return False
    if token.kind == "string" and token.broken:
        return True
    if token.kind == "string" and (stack.frames[-1].opener == "[" or stack.lexer.colon_follows(token)):
        return False
    message = f"unexpected {quote_text(_words(stack, token))} directly after a closing quote"
    remedy = 'write `\\"` for a quote inside a text, or look for a missing quote before this place'
    stack.complaints.add(token.start - 1, "stray-quote", message, remedy)
    stack.lexer.offset = token.start
    stack.lexer.skip_line()
    stack.lexer.lost = True
    if stack.state is ParserState.COLON:
        _without_value(stack)
    stack.loose, stack.text_end = True, -1
    return True


def _unexpected(stack: ParserStack, token: Token, wanted: str) -> None:
    what = quote_text(_words(stack, token))
    stack.doubt(token.start, "unexpected", f"unexpected {what}, expected {wanted}", "correct it")
    stack.told = True


def _look_again(stack: ParserStack, token: Token) -> None:
    """Read a word once more, as the value that it stands for."""
    stack.lexer.offset = token.start
    stack.state = ParserState.VALUE


def _words(stack: ParserStack, token: Token) -> str:
    return stack.text[token.start : token.end]
