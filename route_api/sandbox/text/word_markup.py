"""Changes the XML of a Word document so that a reader of its text finds what Word shows.

Word computes the numbers of clauses and headings ("第二条", "2.1") while it shows a document: they are in no text. The
reader (office_oxide) leaves them out, with the base text of ruby. Comments stand beside the page, and pictures have no
text.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from lxml import etree

from .extraction import ExtractionError

DOCUMENT = "word/document.xml"
_UNREAD = re.compile(r"word/(?:media|embeddings|comments\w*\.xml|fonts)")
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_WINGDINGS = {
    "F0FE": "☑",
    "F052": "☑",
    "F0FD": "☒",
    "F054": "☒",
    "F0A8": "☐",
    "F0A3": "☐",
    "F06F": "☐",
    "F0FC": "✓",
    "F0FB": "✗",
}
"""The boxes that forms have, by their place in a font of symbols."""
_DIGITS = "零一二三四五六七八九"
_PARSER_OPTIONS: dict[str, Any] = {"resolve_entities": False, "no_network": True}


def with_visible_text(archive: zipfile.ZipFile) -> bytes:
    """Return the archive of a Word document with its computed numbers and the base text of ruby as text.

    :raises ExtractionError: if it is no Word document
    """
    try:
        parts = {name: archive.read(name) for name in archive.namelist() if not _UNREAD.match(name)}
        if DOCUMENT in parts:  # Few programs give it another name, or write `word\\document.xml`.
            document = _parse(parts[DOCUMENT])
            _write_numbers(document, _Numbering(parts))
            _simplify(document)
            parts[DOCUMENT] = etree.tostring(document, encoding="utf-8", xml_declaration=True)
    except etree.XMLSyntaxError as error:
        text = "its XML is broken, nested too deeply or too large"
        raise ExtractionError(f"The DOCX file cannot be read: {text}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ExtractionError("The DOCX file cannot be read: it is damaged, encrypted or no Word document") from error
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as target:
        for name, content in parts.items():
            target.writestr(name, content)
    return changed.getvalue()


def _parse(xml: bytes) -> Any:
    return etree.fromstring(xml, etree.XMLParser(**_PARSER_OPTIONS))


def _value(element: Any, path: str, default: str = "") -> str:
    """Return the attribute `w:val` of the first element at a path such as `pPr/pStyle`."""
    found = element.find("/".join(f"{_W}{name}" for name in path.split("/"))) if element is not None else None
    return default if found is None else found.get(f"{_W}val", default)


def _simplify(document: Any) -> None:
    for ruby in document.findall(f".//{_W}ruby"):
        run, base = ruby.getparent(), ruby.find(f"{_W}rubyBase")
        if run.tag == f"{_W}r":
            texts = [] if base is None else base.findall(f".//{_W}t")
            place = run.index(ruby)
            run[place : place + 1] = texts
    for symbol in document.findall(f".//{_W}sym"):
        if text := (
            _WINGDINGS.get(symbol.get(f"{_W}char", "").upper()) if "Wingdings" in symbol.get(f"{_W}font", "") else None
        ):
            symbol.tag, symbol.text = f"{_W}t", text
    for hyphen in document.findall(f".//{_W}noBreakHyphen"):
        hyphen.tag, hyphen.text = f"{_W}t", "-"


def _write_numbers(document: Any, numbering: "_Numbering") -> None:
    for paragraph in document.iter(f"{_W}p") if numbering.has_numbers else ():
        text = numbering.next_number(paragraph)
        if not text:
            continue
        properties = paragraph.find(f"{_W}pPr")
        own = properties.find(f"{_W}numPr")
        if own is not None:  # Else the reader would make an item of a list of it.
            properties.remove(own)
        run = etree.Element(f"{_W}r")
        etree.SubElement(run, f"{_W}t", {"{http://www.w3.org/XML/1998/namespace}space": "preserve"}).text = f"{text} "
        properties.addnext(run)


class _Numbering:
    """The numbers of a document's paragraphs, as its parts `numbering.xml` and `styles.xml` define them."""

    def __init__(self, parts: dict[str, bytes]) -> None:
        numbering = _parse(parts["word/numbering.xml"]) if "word/numbering.xml" in parts else None
        styles = _parse(parts["word/styles.xml"]) if "word/styles.xml" in parts else None
        every: Callable[[Any, str], list[Any]] = lambda root, tag: [] if root is None else root.findall(f"{_W}{tag}")
        self._lists = {item.get(f"{_W}abstractNumId"): item for item in every(numbering, "abstractNum")}
        self._list_of = {item.get(f"{_W}numId"): item for item in every(numbering, "num")}
        self._styles = {style.get(f"{_W}styleId"): style for style in every(styles, "style")}
        self._default_style = next(
            (
                name
                for name, style in self._styles.items()
                if style.get(f"{_W}default") in ("1", "true") and style.get(f"{_W}type") == "paragraph"
            ),
            "",
        )
        self._counters: dict[str, dict[int, int]] = {}
        self._restarted: set[tuple[str, int]] = set()
        self.has_numbers = bool(self._list_of)

    def next_number(self, paragraph: Any) -> str:
        """Return the number of the next paragraph. Empty, if it has none, or a bullet."""
        number_id, level = self._place(paragraph)
        number = self._list_of.get(number_id)
        abstract_id = _value(number, "abstractNumId")
        shape = self._level(number, abstract_id, level)
        if shape is None or _value(shape, "numFmt") == "bullet":
            return ""
        counters = self._counters.setdefault(abstract_id, {})
        self._count(counters, number, number_id, abstract_id, level, shape)
        only_digits = shape.find(f"{_W}isLgl") is not None

        def shown(match: re.Match[str]) -> str:
            above = int(match[1]) - 1
            other = self._level(number, abstract_id, above)
            count = counters.get(above, int(_value(other, "start", "1")))
            return str(count) if only_digits else _formatted(count, _value(other, "numFmt", "decimal"))

        return re.sub(r"%(\d)", shown, _value(shape, "lvlText")).strip()

    def _place(self, paragraph: Any) -> tuple[str, int]:
        """Return the list and the level of a paragraph, from its own properties or from its style's."""
        properties = paragraph.find(f"{_W}pPr")
        if properties is None:
            return "", 0
        number_id, level = _value(properties, "numPr/numId"), _value(properties, "numPr/ilvl")
        name = _value(properties, "pStyle")
        for _ in range(10):  # Styles are based on styles; a damaged file may have a circle.
            style = self._styles.get(name)
            if style is None or (number_id and level):
                break
            number_id = number_id or _value(style, "pPr/numPr/numId")
            level = level or _value(style, "pPr/numPr/ilvl")
            if number_id and not level:
                level = self._level_of_style(number_id, name)
            name = _value(style, "basedOn")
        return number_id, int(level or 0)

    def _level_of_style(self, number_id: str, style: str) -> str:
        abstract = self._lists.get(_value(self._list_of.get(number_id), "abstractNumId"))
        for level in [] if abstract is None else abstract.findall(f"{_W}lvl"):
            if _value(level, "pStyle") == style:
                return str(level.get(f"{_W}ilvl", ""))
        return ""

    def _level(self, number: Any, abstract_id: str, level: int) -> Any:
        abstract = self._lists.get(abstract_id)
        path = f"{_W}lvl[@{_W}ilvl='{level}']"
        own = None if number is None else number.find(f"{_W}lvlOverride[@{_W}ilvl='{level}']/{_W}lvl")
        return own if own is not None or abstract is None else abstract.find(path)

    def _count(
        self, counters: dict[int, int], number: Any, number_id: str, abstract_id: str, level: int, shape: Any
    ) -> None:
        start = number.find(f"{_W}lvlOverride[@{_W}ilvl='{level}']/{_W}startOverride")
        restarts = start is not None and (number_id, level) not in self._restarted
        self._restarted.add((number_id, level))
        if restarts:
            counters[level] = int(start.get(f"{_W}val", "1"))
        elif level in counters:
            counters[level] += 1
        else:
            counters[level] = int(_value(shape, "start", "1"))
        for above in range(level):  # A list may begin at its second level.
            counters.setdefault(above, int(_value(self._level(number, abstract_id, above), "start", "1")))
        for below in [other for other in counters if other > level]:
            del counters[below]


def _formatted(count: int, form: str) -> str:
    """Write a number in one of Word's forms. Rare forms are written as digits."""
    if "chinese" in form.lower() and "legal" in form.lower():
        return _chinese(count).translate(str.maketrans("一二三四五六七八九十百千", "壹贰叁肆伍陆柒捌玖拾佰仟"))
    if re.match("chinese|japaneseCounting|taiwanese|koreanDigital2|ideographDigital", form):
        return _chinese(count)
    if form == "decimalZero":
        return f"{count:02}"
    if form.startswith("decimalEnclosedCircle") and 1 <= count <= 20:
        return chr(ord("①") + count - 1)
    if form == "ideographTraditional" and 1 <= count <= 10:
        return "甲乙丙丁戊己庚辛壬癸"[count - 1]
    if form in ("upperLetter", "lowerLetter") and count > 0:
        letters = chr(ord("A") + (count - 1) % 26) * ((count - 1) // 26 + 1)
        return letters if form == "upperLetter" else letters.lower()
    if form in ("upperRoman", "lowerRoman") and 0 < count < 4000:
        return _roman(count) if form == "upperRoman" else _roman(count).lower()
    return "" if form == "none" else str(count)


def _chinese(count: int) -> str:
    """Write a number below 10,000 in Chinese: 12 is 十二, 105 is 一百零五."""
    if not 0 < count < 10_000:
        return str(count)
    text = "".join(
        _DIGITS[int(digit)] + (unit if digit != "0" else "")
        for digit, unit in zip(str(count), ("千", "百", "十", "")[-len(str(count)) :], strict=True)
    )
    text = re.sub("零+", "零", text).rstrip("零")
    return text.removeprefix("一") if text.startswith("一十") else text


def _roman(count: int) -> str:
    text = ""
    for value, sign in zip(
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1), "M CM D CD C XC L XL X IX V IV I".split(), strict=True
    ):
        text += sign * (count // value)
        count %= value
    return text
