"""Reads HTML: the text that a browser shows, without navigation and cookie banners. Also reads XML."""

import re
from pathlib import Path

from lxml import etree

from .markdown import LAYOUT_CELL_CHARACTERS, MergedCells, heading, table_row
from .plain_text import decode_text

LINE_TAGS = frozenset("button caption dd dt figcaption legend li optgroup option summary".split())
"""Elements that stand on a line of their own within a block."""
BLOCK_TAGS = frozenset(
    "address article aside blockquote body details dialog div dl"
    " fieldset figure footer form h1 h2 h3 h4 h5 h6 header hr main ol p"
    " pre section select table title ul".split()
)
CELL_TAGS = frozenset(("td", "th"))
ROW_GROUP_TAGS = frozenset(("thead", "tbody", "tfoot"))
MAX_SPAN = 1000
"""The most columns and rows of a cell. Browsers have this limit for columns."""
UNSHOWN_TAGS = frozenset("script style noscript template nav svg iframe object".split())
UNSHOWN_ROLES = frozenset(("navigation", "menu", "menubar"))
_UNSHOWN_STYLE = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_PLACE = r"(?:(?:main|site|top|primary|secondary|side|sidebar|footer|header|global|page|mobile|js)[-_]?)?"
_NAVIGATION = re.compile(
    rf"{_PLACE}(?:nav|navi|navbar|navigation|nav[-_]?(?:menu|bar|links|list|header|footer)|menu[-_]?bar|breadcrumbs?)"
    r"|(?:main|site|top|header|mobile)[-_]?menu|skip[-_]?(?:link|nav|to[-_](?:main|content))"
)
_COOKIE_BANNER = re.compile(
    r".*(?:cookie|gdpr|privacy)s?[-_]?(?:\w+[-_])?(?:banner|bar|consent"
    r"|notice|notification|popup|modal|overlay|message|alert|law|dialog"
    r"|accept|wall|prompt|layer|hint|disclaimer).*|.*consent[-_]?(?:banner"
    r"|bar|popup|modal|dialog).*|(?:onetrust|didomi|cookiebot|cc)-.*"
)
"""Names that pages and consent tools give to their cookie banners, as class or id, in lower case."""
MAX_NAME = 100
"""A longer class or id is no name that somebody has given, and the patterns take long to search it."""


def extract(path: Path, extension: str) -> str:
    """Read an HTML file, or the text of an XML file's elements."""
    text = decode_text(path.read_bytes())
    return xml_text(text) if extension == "xml" else html_text(text)


def html_text(html: str) -> str:
    """Return the text of an HTML page: headings and rows of tables as in Markdown, and code within ```.

    The parser builds no tree, because both a tree and a walk through it grow too large if the tags are nested deeply.
    """
    parser = etree.HTMLParser(target=_HtmlText(), encoding="utf-8", huge_tree=True)
    return str(etree.fromstring(html.encode(errors="replace"), parser)) if html.strip() else ""


def xml_text(xml: str) -> str:
    """Return the text of an XML document in paragraphs."""
    content = re.sub(r"^\s*<\?xml[^>]*\?>", "", xml).encode(errors="replace")
    parser = etree.XMLParser(target=_XmlText(), recover=True, resolve_entities=False, no_network=True, huge_tree=True)
    return str(etree.fromstring(content, parser)) if content.strip() else ""


class _Flow:
    """Text that flows down a page, or within a cell of a table.

    :param columns: how many columns the cell has
    :param rows: how many rows it has
    """

    def __init__(self, columns: int = 1, rows: int = 1) -> None:
        self.columns, self.rows = columns, rows
        self.blocks: list[str] = []
        self.heading_level = 0
        self._parts: list[str] = []

    def add(self, text: str) -> None:
        self._parts.append(text)

    def end_block(self) -> None:
        lines = [line for part in "".join(self._parts).split("\n") if (line := " ".join(part.split()))]
        self._parts.clear()
        if lines:
            self.blocks.append(heading(self.heading_level, " ".join(lines)) if self.heading_level else "\n".join(lines))

    def end_code(self) -> None:
        code = "".join(self._parts).strip("\n").rstrip()
        self._parts.clear()
        if code:
            self.blocks.append(f"```\n{code}\n```" if "\n" in code else code)


def _span(attribute: str | None) -> int:
    """Return how many columns or rows an attribute names; 0 names all that are left."""
    digits = re.match(r"\s*(\d{1,9})", attribute or "")
    return min(int(digits[1]) or MAX_SPAN, MAX_SPAN) if digits else 1


class _Table:
    """An open table: the cells of its row so far, and those that go on below."""

    def __init__(self) -> None:
        self.cells: list[tuple[str, int, int]] = []
        self.merged = MergedCells()


class _HtmlText:
    """The target of an HTML parser."""

    def __init__(self) -> None:
        self._flows = [_Flow()]
        """The page, and within it the open cell of each open table."""
        self._tables: list[_Table] = []
        self._unshown = 0
        """The number of open elements from the outermost that is not shown."""
        self._code = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._unshown or _is_unshown(tag, attributes):
            self._unshown += 1
            return
        flow = self._flows[-1]
        if tag == "br" or tag in LINE_TAGS:
            flow.add("\n")
        elif tag in BLOCK_TAGS and not self._code:
            flow.end_block()
        if tag in CELL_TAGS:
            self._flows.append(_Flow(_span(attributes.get("colspan")), _span(attributes.get("rowspan"))))
        elif tag == "table":
            self._tables.append(_Table())
        elif tag == "pre":
            self._code += 1
        elif re.fullmatch("h[1-6]", tag):
            flow.heading_level = int(tag[1])

    def end(self, tag: str) -> None:
        if self._unshown:
            self._unshown -= 1
            return
        if tag in CELL_TAGS:
            self._end_cell()
        elif tag == "tr":
            self._end_row()
        elif tag in ROW_GROUP_TAGS and self._tables:
            self._tables[-1].merged = MergedCells()
        elif tag == "pre":
            self._code -= 1
            self._flows[-1].end_code()
        elif tag in LINE_TAGS:
            self._flows[-1].add("\n")
        elif tag in BLOCK_TAGS and not self._code:
            self._flows[-1].end_block()
            self._flows[-1].heading_level = 0
        if tag == "table":
            self._end_row()
            self._tables.pop()

    def _end_cell(self) -> None:
        cell = self._flows.pop()
        cell.end_block()
        is_layout = len(cell.blocks) > 1 and sum(map(len, cell.blocks)) > LAYOUT_CELL_CHARACTERS
        if self._tables and not is_layout:
            self._tables[-1].cells.append((" ".join(cell.blocks), cell.columns, cell.rows))
            return
        self._end_row()
        self._flows[-1].end_block()
        self._flows[-1].blocks.extend(cell.blocks)

    def _end_row(self) -> None:
        if not self._tables:
            return
        table = self._tables[-1]
        row = [text for text in table.merged.row(table.cells) if text is not None]
        table.cells = []
        if any(row):
            self._flows[-1].add(f"\n{table_row(row)}\n")

    def data(self, text: str) -> None:
        if not self._unshown:
            self._flows[-1].add(text if self._code else re.sub(r"\s+", " ", text))

    def close(self) -> str:
        while len(self._flows) > 1:
            self._end_cell()
        self._flows[0].end_block()
        return "\n\n".join(self._flows[0].blocks)


def _is_unshown(tag: str, attributes: dict[str, str]) -> bool:
    if tag in UNSHOWN_TAGS or "hidden" in attributes or (tag == "dialog" and "open" not in attributes):
        return True
    if attributes.get("role") in UNSHOWN_ROLES or _UNSHOWN_STYLE.search(attributes.get("style") or ""):
        return True
    if tag in ("html", "body", "main", "article"):  # Their classes say what else the page has.
        return False
    names = f"{attributes.get('class') or ''} {attributes.get('id') or ''}".lower().split()
    named = (name for name in names if len(name) <= MAX_NAME)
    if any(_NAVIGATION.fullmatch(name) or _COOKIE_BANNER.fullmatch(name) for name in named):
        return True
    return (
        attributes.get("role") in ("dialog", "alertdialog")
        and "cookie" in f"{names} {attributes.get('aria-label')}".lower()
    )


class _Element:
    """An open element of an XML document: its own text since its last child, and those of its latest children that have
    no children, by their names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text: list[str] = []
        self.fields: list[tuple[str, str]] = []
        self.has_children = False


class _XmlText:
    """The target of an XML parser. Elements side by side with different names and short texts are a record, and become
    one paragraph, `name: drill;price: 399`; each other text is a paragraph."""

    def __init__(self) -> None:
        self._paragraphs: list[str] = []
        self._open = [_Element("")]

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        parent = self._open[-1]
        if not parent.has_children and len(self._open) > 1:
            self._end_fields(self._open[-2])
        parent.has_children = True
        self._end_text(parent)
        self._open.append(_Element(tag.rpartition("}")[2]))

    def end(self, _tag: str) -> None:
        element = self._open.pop()
        if element.has_children:
            self._end_text(element)
            self._end_fields(element)
        elif text := " ".join("".join(element.text).split()):
            self._open[-1].fields.append((element.name, text))

    def data(self, text: str) -> None:
        self._open[-1].text.append(text)

    def _end_text(self, element: _Element) -> None:
        if text := " ".join("".join(element.text).split()):
            self._end_fields(element)
            self._paragraphs.append(text)
        element.text.clear()

    def _end_fields(self, element: _Element) -> None:
        fields = element.fields
        is_record = len(fields) > 1 and len(dict(fields)) == len(fields)
        if is_record and all(len(text) <= LAYOUT_CELL_CHARACTERS for _, text in fields):
            self._paragraphs.append(";".join(f"{name}: {text}" for name, text in fields))
        else:
            self._paragraphs.extend(text for _, text in fields)
        element.fields = []

    def close(self) -> str:
        while len(self._open) > 1:
            self.end("")
        self._end_fields(self._open[0])
        return "\n\n".join(self._paragraphs)
