"""XML answers as plain trees, within bounds; document types and entities are refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

_DEEPEST: Final = 40
_MOST_ELEMENTS: Final = 2_000_000


@dataclass(slots=True)
class XmlElement:
    """An element, its name without a namespace."""

    name: str
    text: str = ""
    children: list[XmlElement] = field(default_factory=list)

    def find(self, *path: str) -> XmlElement | None:
        """The first element at a path below this one; None if there is none."""
        place: XmlElement | None = self
        for name in path:
            place = next((one for one in (place.children if place else ()) if one.name == name), None)
        return place

    def get_text(self, *path: str) -> str:
        """The text of the first element at a path; empty if there is none."""
        found = self.find(*path)
        return found.text.strip() if found else ""

    def list_items(self, *path: str) -> list[XmlElement]:
        """The elements named `item` of the list at a path."""
        found = self.find(*path)
        return [one for one in found.children if one.name == "item"] if found else []


class InvalidXml(ValueError):
    """Bytes are not an XML document, are cut, or are beyond the bounds."""


def parse_xml(data: bytes) -> XmlElement:
    """The root of a document in UTF-8.

    Raises:
        InvalidXml: it is cut, malformed, too deep or too large, or it has a document type.
    """
    parser = expat.ParserCreate("utf-8")  # whatever the document says: a filter must not see another text
    top, count = XmlElement(""), 0
    stack = [top]

    def refuse_doctype(*_: object) -> None:
        raise InvalidXml("it has a document type")

    def start(name: str, _: object) -> None:
        nonlocal count
        count += 1
        if len(stack) > _DEEPEST or count > _MOST_ELEMENTS:
            raise InvalidXml("it is too deep or too large")
        element = XmlElement(name.rpartition(":")[2])
        stack[-1].children.append(element)
        stack.append(element)

    def end(_: str) -> None:
        stack.pop()

    def add_text(text: str) -> None:
        stack[-1].text += text

    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = add_text
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InvalidXml(f"line {error.lineno}: {expat.ErrorString(error.code)}") from error
    return top.children[0]
