"""The tokens of JSON and of what people write instead of it, each with its offset."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from reconciler.documents.problem_list import ProblemList
from reconciler.documents.text_lines import find_line_end
from reconciler.text.numbers import InvalidNumber, read_number
from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest

_ESCAPE = r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
# A number or literal counts only if something ends it: `1.2.3` is one wrong word, not `1.2` and a rest.
_TOKEN = re.compile(
    rf"""[ \t\n\r]*(?:
        (?P<mark>[{{}}\[\],:])
      | (?P<string>"[^"\\\x00-\x1f]*(?:{_ESCAPE}[^"\\\x00-\x1f]*)*")
      | (?P<scalar>(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null)
          (?=[\s,;={{}}\[\]"'\#]|:\s|/[/*]|\Z))
    )""",
    re.VERBOSE,
)
_BLANK = re.compile(r"[ \t\n\r]*")
_ODD_BLANK = re.compile(r"[^\S \t\n\r]+|[\ufeff\u200b]+")
_COMMENT = re.compile(r"(?://|\#)[^\n\r]*|/\*.*?(?P<end>\*/|\Z)", re.DOTALL)
# Up to nine words before a colon: a name without quotes may contain blanks, but is not a whole sentence.
_WORD = re.compile(r"""[^\s,:={}\[\]"';]+(?:(?:[ \t]+[^\s,:={}\[\]"';]+){1,8}(?=[ \t]*[:=]))?""")
_PLAIN = re.compile(r"""[^"'\u201c\u201d\u2018\u2019\\\x00-\x1f]*""")
_LATE_QUOTE = re.compile(r"""["'](?=[ \t]*(?:[,:}\]\r\n]|\Z))""")
_GOOD_ESCAPE = re.compile(_ESCAPE)
_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
_SINGLE = "\u2018\u2019"
_DOUBLE = "\u201c\u201d"
_QUOTES = {
    '"': '"',
    "'": "'",
    **dict.fromkeys(_SINGLE, _SINGLE),
    **dict.fromkeys(f"{_DOUBLE}\u201e", _DOUBLE),
}
"""Opening quote -> the characters that may close it."""
_LITERALS = {"true": True, "false": False, "null": None}
# Up to what ends a value. `//` starts a comment, but not in a URL, where a colon is before it.
_RUN = re.compile(r"""(?:[^\s,{}\[\]"';/]|/(?![/*])|(?<=:)//)+""")
# Further words of a text without quotes, except the name of the next member: a colon follows it.
_MORE = re.compile(r"""(?:[ \t]+(?![^\s,:={}\[\]"';]+[ \t]*[:=])[^\s,:={}\[\]"';/#]+)*""")
_ODD_NUMBER = re.compile(
    r"(?P<sign>[-+]?)(?:(?P<hex>0[xX][0-9a-fA-F]+)|(?P<whole>[0-9][0-9_]*)?(?P<rest>\.[0-9]*)?(?P<power>[eE][-+]?[0-9]+)?)"
)
_MEANT = {
    "true": "true", "yes": "true", "on": "true",
    "false": "false", "no": "false", "off": "false",
    "null": "null", "none": "null", "nil": "null", "undefined": "null",
}  # fmt: skip
_NO_NUMBERS = frozenset({"nan", "infinity", "inf"})


@dataclass(slots=True)
class Token:
    """One token: `kind` is a mark itself, or `string`, `scalar`, `word` (not JSON) or `end`.

    `is_broken`: the end of the string is a guess.
    """

    kind: str
    start: int
    end: int
    value: Any = None
    is_broken: bool = False


class Lexer:
    """The tokens of a text one after the other; problems within one go to `problem_list`."""

    def __init__(self, text: str, problem_list: ProblemList) -> None:
        self.text = text
        self.problem_list = problem_list
        self.offset = 0
        self.is_bracket_count_lost = False
        """Whether a broken text or comment may contain brackets, so that counting them means nothing."""

    def next(self, *, name: bool) -> Token:
        """The next token; `name`: a member's name may be here, which `1` or `true` then is."""
        found = _TOKEN.match(self.text, self.offset)
        if found is None or (name and found.lastgroup == "scalar"):
            return self._read_odd_token(name=name)
        self.offset = end = found.end()
        group = str(found.lastgroup)
        start = found.start(group)
        words = found[group]
        if group == "mark":
            return Token(words, start, end)
        if group == "string":
            return Token(group, start, end, self._unescape(words, start))
        if words in _LITERALS:
            return Token(group, start, end, _LITERALS[words])
        return Token(group, start, end, self._read_number(words, start))

    def colon_follows(self, token: Token) -> bool:
        """Whether a `:`, or a `=` instead, follows a token."""
        return self.text.startswith((":", "="), skip_blank(self.text, token.end))

    def closer_follows(self, token: Token) -> bool:
        """Whether a closing bracket follows a token."""
        return self.text.startswith(("}", "]"), skip_blank(self.text, token.end))

    def skip_line(self) -> None:
        """Continue at the end of the line, but before the commas and brackets that end it."""
        end = find_line_end(self.text, self.offset)
        while end > self.offset and self.text[end - 1] in " \t,]}":
            end -= 1
        self.offset = end

    def _read_odd_token(self, *, name: bool) -> Token:
        """The next token if it is not one of JSON."""
        self._skip_trivia()
        start = self.offset
        if start == len(self.text):
            return Token("end", start, start)
        found = _TOKEN.match(self.text, start)
        if found is not None and not (name and found.lastgroup == "scalar"):
            return self.next(name=name)
        char = self.text[start]
        if char in _QUOTES:
            return self._read_odd_string(start, char, name=name)
        if char in "{}[],:;=":
            self.offset = start + (2 if self.text.startswith("=>", start) else 1)
            return Token(char, start, self.offset)
        return self._read_word(start, name=name)

    def _read_word(self, start: int, *, name: bool) -> Token:
        """A word without quotes, or with only a closing one."""
        bare = None if name else _describe_bareword(self.text, start)
        self.offset = bare[0] if bare else _match_end(_WORD, self.text, start)
        within = self.text[start - 1 : start] in {'"', "'"}
        if not within and _LATE_QUOTE.match(self.text, self.offset):
            word, self.offset = self.text[start : self.offset], self.offset + 1
            message = f"{quote_text(word)} has a closing quote but no opening quote"
            self.problem_list.add(start, "unopened-text", message, 'insert `"` here')
            return Token("string", start, self.offset, word)
        if bare is None:
            return Token("word", start, self.offset, self.text[start : self.offset])
        end, wrong = bare
        self.problem_list.add(start, *wrong)
        return Token("scalar", start, end)

    def _skip_trivia(self) -> None:
        """Skip white space and comments; a run of comments is one problem."""
        is_reported = False
        while True:
            self.offset = skip_blank(self.text, self.offset)
            if odd := _ODD_BLANK.match(self.text, self.offset):
                what = f"non-standard whitespace character U+{ord(odd[0][0]):04X}"
                self.problem_list.add(self.offset, "odd-blank", what, "replace it with a normal space")
            elif odd := _COMMENT.match(self.text, self.offset):
                closed = odd["end"] != ""
                # A comment without an end hides brackets: counting them afterwards would report nonsense.
                self.is_bracket_count_lost = self.is_bracket_count_lost or not closed
                if not is_reported or not closed:
                    message = (
                        "JSON does not allow comments"
                        if closed
                        else "the comment that starts here is not closed"
                    )
                    self.problem_list.add(
                        self.offset, "comment", message, "remove it, or write the file as YAML"
                    )
                is_reported = True
            else:
                return
            self.offset = odd.end()

    def _read_number(self, words: str, start: int) -> int | float | None:
        try:
            return read_number(words)
        except InvalidNumber as error:
            message = f"the number {quote_text(words)} cannot be stored exactly: {error.message}"
            self.problem_list.add(start, "bad-number", message, error.remedy)
            return None

    def _unescape(self, words: str, start: int) -> str:
        if "\\" not in words:
            return words[1:-1]
        for found in _SURROGATE.finditer(words):
            if found["lone"]:
                message = f"{quote_text(found[0])} is half of a surrogate pair"
                remedy = "write the character itself, or both halves"
                self.problem_list.add(start + found.start(), "bad-escape", message, remedy)
        value: str = json.loads(words)
        return value

    def _read_odd_string(self, start: int, quote: str, *, name: bool) -> Token:
        """A string that is not one of JSON: other quotes, bad escapes, control characters, no end."""
        closing = _QUOTES[quote]
        if quote != '"':
            code = "single-quotes" if quote == "'" else "typographic-quotes"
            message = f"the text is in {code.replace('-', ' ')}"
            self.problem_list.add(start, code, message, 'use `"`, the only quote that JSON allows')
        at = start + 1
        seen: set[str] = set()
        while True:
            at = _match_end(_PLAIN, self.text, at)
            char = self.text[at : at + 1]
            if char and char in closing:
                self.offset = at + 1
                return Token("string", start, at + 1, self.text[start + 1 : at])
            if char == "\\":
                at += self._measure_escape(at, closing)
            elif char and (char not in "\r\n" or self._is_continued(at, closing)):
                if char < " " and char not in seen:
                    self._report_control(at, char)
                seen.update({"\r", "\n"} if char in "\r\n" else char)
                at += 1
            else:
                return self._end_unterminated(start, at, name=name)

    def _measure_escape(self, at: int, closing: str) -> int:
        """The length of the escape sequence at an offset, in characters."""
        if found := _GOOD_ESCAPE.match(self.text, at):
            return len(found[0])
        following = self.text[at + 1 : at + 2]
        if following not in closing:
            message = f"{quote_text(self.text[at : at + 2])} is not a JSON escape sequence"
            self.problem_list.add(at, "bad-escape", message, "write `\\\\` for a backslash")
        return 2 if following not in ("", "\r", "\n") else 1

    def _report_control(self, at: int, char: str) -> None:
        if char in "\r\n":
            message, code = "the text contains a line break", "line-break-in-text"
            remedy = 'write `\\n` for a line break, or close the text with `"`'
        else:
            message, code = f"the text contains the control character U+{ord(char):04X}", "control-character"
            remedy = f"write `{json.dumps(char)[1:-1]}`"
        self.problem_list.add(at, code, message, remedy)

    def _is_continued(self, at: int, closing: str) -> bool:
        """Whether a line break is part of the text, judged by the start of the next line."""
        # A line that begins like a name or a bracket is structure: the quote was left out before it.
        following = skip_blank(self.text, at)
        if self.text[following : following + 1] in ("", '"', "'", "{", "}", "[", "]", "“"):
            return False
        line = self.text[following : find_line_end(self.text, following)]
        return any(quote in line for quote in closing)

    def _end_unterminated(self, start: int, end: int, *, name: bool) -> Token:
        """A string without an end: it probably ends before the commas and brackets that end its line."""
        while end > start + 1 and self.text[end - 1] in " \t,]}":
            end -= 1
        self.is_bracket_count_lost = self.is_bracket_count_lost or any(
            char in "{}[]" for char in self.text[start:end]
        )
        message = "the text that starts here has no closing quote"
        colon = self.text.find(":", start, end) if name else -1
        position = self.problem_list.lines.at(end if colon < 0 else colon)
        remedy = f'insert `"` at its end, probably at {position.line}:{position.column}'
        self.problem_list.add(start, "unterminated-text", message, remedy, related=position)
        self.offset = end
        return Token("string", start, end, self.text[start + 1 : end], is_broken=True)


def skip_blank(text: str, offset: int) -> int:
    """The offset of the next character that is not JSON's white space."""
    return _match_end(_BLANK, text, offset)


def _match_end(pattern: re.Pattern[str], text: str, offset: int) -> int:
    found = pattern.match(text, offset)
    return found.end() if found else offset


def _describe_bareword(text: str, start: int) -> tuple[int, tuple[str, str, str]]:
    """The end of the word at an offset, and the code, message and remedy of the problem with it."""
    found = _RUN.match(text, start)
    end = found.end() if found else start + 1
    words = text[start:end]
    lower = words.lower()
    # Stricter than for names: a loose match would suggest `true` for some other text.
    if meant := find_nearest(lower, _MEANT, cutoff=0.85):
        right = _MEANT[meant]
        return end, ("bare-word", f"{quote_text(words)} is not a JSON literal", f"write `{right}`")
    if lower.lstrip("+-") in _NO_NUMBERS:
        remedy = "leave it out, or write `null` or a number"
        return end, ("not-a-number", f"{quote_text(words)} is not a JSON number", remedy)
    if right := _read_odd_number(words):
        return end, ("bad-number", f"{quote_text(words)} is not a JSON number", f"write `{right}`")
    if more := _MORE.match(text, end):
        end = more.end()
    words = text[start:end]
    escaped = words.replace("\\", "\\\\")
    remedy = "write " + quote_text(f'"{escaped}"')
    return end, ("bare-word", f"{quote_text(words)} is not in quotes", remedy)


def _read_odd_number(words: str) -> str:
    """The JSON number that an odd one means; empty if it is not a number at all."""
    found = _ODD_NUMBER.fullmatch(words)
    if not found or not (found["hex"] or found["whole"] or len(found["rest"] or "") > 1):
        return ""
    sign = "-" if found["sign"] == "-" else ""
    if found["hex"]:
        return f"{sign}{int(found['hex'], 16)}" if len(found["hex"]) < 20 else ""  # noqa: PLR2004
    whole = (found["whole"] or "").replace("_", "").lstrip("0") or "0"
    rest = found["rest"] or ""
    return f"{sign}{whole}{rest if rest != '.' else ''}{found['power'] or ''}"
