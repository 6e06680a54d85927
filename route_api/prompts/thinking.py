"""Separates a model's thinking from its answer: in a whole text, and in a text that comes in pieces.

Models write their thinking between `<think>` and `</think>` or between `<thinking>` and `</thinking>`, in upper or
lower case. Some model plugins of Dify write `<details style="…" open> <summary> Thinking... </summary>` and
`</details>`. An answer may have several such blocks, because an agent thinks again after each tool. An answer may also
be about these tags. So this is the rule:

A block begins with an opening tag that stands

- at the start of the answer, or after the end of another block,
- at the start of a line,
- after the end of a sentence, as in `好的。<think>`, or
- at the end of its line, as in `Well <think>`, because models go on in a new line after the tag.

It ends with the next closing tag that is no text, also in the middle of a sentence: otherwise the answer after it would
be taken for thinking. If there is none, it goes on to the end of the answer.

A tag is text if it is in code (between backticks, in a fenced or an indented block) or in quotation marks. A code span
or a quotation counts only if it begins and ends in the line of the tag, and within NEARBY characters of it, or if it
begins directly before the tag: a single mark must not hide a tag. For the same reason a closing tag at the start of a
line is text in a fenced block only if the block has an opening tag too. Any other opening tag is in the middle of a
sentence, and is text too.

Some models begin to think without a tag and only end with `</think>`, as in the API document's example. So if an answer
has no opening tag before it, a `</think>` ends the thinking if it stands at the start of a line, after the end of a
sentence, or before a blank line, and is neither in code nor in quotation marks. In a stream, this thinking looks like
content until its tag comes, and text that was sent cannot be taken back. So a stream has all of it as content, the tag
too.
"""

import re

NEARBY = 100
"""In characters. What is farther away from a tag in its line does not tell whether the tag is text."""

_TAGS = (
    *(list(tag) for tag in ("think>", "/think>", "thinking>", "/thinking>", "/details>")),
    [*"details", "[^<>]{0,200}", ">", r"\s{0,9}", *"<summary", "[^<>]{0,200}", ">", r"\s{0,9}", *"Thinking"]
    + [r"[.…]{0,3}", r"\s{0,9}", *"</summary>"],
)
"""Each tag without its `<`, as a list of regular expressions, one for each character or repeated character."""


def _beginnings(tag: list[str]) -> str:
    """A regular expression for every beginning of such a tag at the end of a text."""
    pattern = r"\Z"
    for part in reversed(tag):
        pattern = rf"(?:\Z|{part}{pattern})"
    return pattern


_TAG = re.compile(f"<(?:{'|'.join(map(''.join, _TAGS))})", re.IGNORECASE)
_BEGINNING_OF_TAG = re.compile(f"<(?:{'|'.join(map(_beginnings, _TAGS))})", re.IGNORECASE)

_SENTENCE_END = re.compile(r"(?:[。！？!?…]|(?<!\b\w)\.)[*_)）\]】”’」』\"']*\s*\Z")
"""The end of a sentence. A point after a single character is none: `e.g.`, `1.`."""

_FENCE = re.compile(r"\s*(?:(?:[>*+-]|\d+[.)])\s*)*(`{3,}|~{3,})([^`]*)\Z")
"""A line that begins or ends a fenced block, perhaps in a list or a quotation, and the text after the fence."""

_INDENTED = re.compile(r"(?: {4}|\t)\s*\Z")
_QUOTATION_MARKS = {'"': '"', "“": "”", "‘": "’", "「": "」", "『": "』"}
_MARK = re.compile("`+|[" + "".join(_QUOTATION_MARKS) + "]")


def split_thinking(answer: str, *, is_streamed: bool = False) -> tuple[str, str]:
    """Split the answer of a model, or the part of it that has come.

    :param is_streamed: whether to split it as a stream does: thinking that began without a tag stays in the content
    :returns: the thinking, with a blank line between two blocks, and the content
    """
    if "<" not in answer:
        return "", answer
    return ThinkSplitter().split(answer, is_streamed=is_streamed)


def takes_block(text: str) -> bool:
    """Whether a block of thinking may follow this part of an answer: at its start, or between two sentences that are
    neither in code nor in quotation marks."""
    if text and not text[-1].isspace() and not _SENTENCE_END.search(text[-NEARBY:]):
        return False  # Most pieces of an answer end here.
    splitter = ThinkSplitter()
    splitter.feed(text)
    return splitter.takes_block


class TagKeeper:
    """Passes an answer on as it is, but cuts none of its tags in two: the beginning of a tag waits for the rest of it.

    It has the methods of :class:`ThinkSplitter`, and takes nothing for thinking.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> tuple[str, str]:
        """Take the next piece of the answer.

        :returns: an empty text; the next piece of the answer, which may be empty
        """
        if not self._held and "<" not in piece:
            return "", piece
        text = self._held + piece
        last_tag = max((tag.end() for tag in _TAG.finditer(text)), default=0)
        beginning = _BEGINNING_OF_TAG.search(text, last_tag)
        end = beginning.start() if beginning else len(text)
        self._held = text[end:]
        return "", text[:end]

    def finish(self) -> tuple[str, str]:
        """End the answer.

        :returns: an empty text; the text that was held back and is no tag
        """
        return "", self._held


class ThinkSplitter:
    """Separates thinking from content while an answer comes in pieces, which may be cut anywhere.

    White space around thinking is left out. White space after a block stays if the content before the block has none.

    A piece of text is held back only while it may be a tag, or white space next to a tag. A tag after a quotation mark
    or a backtick is held back until it is certain whether it is text: for NEARBY characters, or to the end of its line.
    """

    def __init__(self) -> None:
        self._place = _Place()
        self._held = ""
        self._kind = ""
        """The kind of the block that the text is in; empty in content."""
        self._last_kind = "think"
        self._has_opening = False
        """Whether an opening tag has come, or the `</think>` of thinking that began without one."""
        self._space: str | None = ""
        """In content: the white space since the start or since a block; None after other text."""
        self._last_content = ""
        self._is_after_block = False
        self._thinking_space: str | None = None
        """In a block: the white space at the end of its text; None before its text begins."""
        self._has_thinking = False
        self._thinking: list[str] = []
        self._content: list[str] = []
        self._keeps_all = False

    def feed(self, piece: str) -> tuple[str, str]:
        """Take the next piece of the answer.

        :returns: the next pieces of thinking and of content; each may be empty
        """
        if self._held or "<" in piece:
            self._scan(self._held + piece, is_last=False)
        else:
            self._pass(piece)
        return self._take()

    def finish(self) -> tuple[str, str]:
        """End the answer.

        :returns: the last pieces of thinking and of content: text that was held back and is no tag
        """
        self._scan(self._held, is_last=True)
        if self._space and not self._is_after_block:
            self._content.append(self._space)
        return self._take()

    def split(self, answer: str, *, is_streamed: bool) -> tuple[str, str]:
        """Split a whole answer. The parameter and the result are those of :func:`split_thinking`."""
        self._keeps_all = not is_streamed
        self._held = answer
        return self.finish()

    @property
    def takes_block(self) -> bool:
        """Whether an opening tag that comes next, with the end of its line, begins a block between two sentences."""
        place = self._place
        if self._held or self._kind:
            return False
        is_free = not (place.is_code or place.is_indented or place.is_quoted("", is_complete=False) is not False)
        return self._space is not None or is_free and place.is_between_sentences

    def _take(self) -> tuple[str, str]:
        taken = "".join(self._thinking), "".join(self._content)
        self._thinking.clear()
        self._content.clear()
        return taken

    def _scan(self, text: str, *, is_last: bool) -> None:
        """Pass on the text up to the first tag that may still become text, or up to the beginning of a tag."""
        position = 0
        while tag := _TAG.search(text, position):
            self._pass(text[position : tag.start()])
            nearby = text[tag.end() : tag.end() + NEARBY]
            is_boundary = self._is_boundary(tag[0], nearby, is_complete=is_last or len(nearby) == NEARBY)
            if is_boundary is None:
                self._held = text[tag.start() :]
                return
            self._pass_tag(tag[0], is_boundary)
            position = tag.end()
        beginning = None if is_last else _BEGINNING_OF_TAG.search(text, position)
        end = beginning.start() if beginning else len(text)
        self._pass(text[position:end])
        self._held = text[end:]

    def _is_boundary(self, tag: str, rest: str, *, is_complete: bool) -> bool | None:
        """Whether a tag begins or ends a block; None if this depends on text that has not come.

        :param rest: the text after the tag
        :param is_complete: whether no further text can tell more
        """
        kind, is_closing, place = _kind(tag), _is_closing(tag), self._place
        if self._kind:
            if kind != self._kind:
                return False
            if not is_closing:
                return self._thinking_space is None  # A model may repeat the tag at once. That begins no other block.
            if place.is_code and (place.openings_in_code or place.line.strip()):
                return False
            return _not(place.is_quoted(rest, is_complete))
        if self._space is not None:
            return not is_closing or kind == self._last_kind
        if place.is_code or place.is_indented or is_closing and (self._has_opening or kind != "think"):
            return False
        is_quoted = place.is_quoted(rest, is_complete)
        if is_quoted is not False or place.is_between_sentences:
            return _not(is_quoted)
        return not place.is_after_opening_mark and _has_line_ends(rest, 2 if is_closing else 1, is_complete)

    def _pass_tag(self, tag: str, is_boundary: bool) -> None:
        """Begin or end a block, or pass on a tag that is text. The `</think>` of thinking that began without a tag is
        text in a stream; in a whole answer it turns the content so far into thinking."""
        is_closing = _is_closing(tag)
        is_unopened = is_closing and not self._has_opening
        self._has_opening = self._has_opening or not is_closing or is_boundary
        if not is_boundary or is_unopened and self._space is None and not self._keeps_all:
            self._place.count_tag(is_closing)
            self._pass(tag)
            return
        if is_unopened:
            self._thinking = ["".join(self._content).strip()]
            self._has_thinking = self._thinking != [""]
            self._content.clear()
            self._last_content = ""
        self._place = _Place()
        self._kind = "" if is_closing else _kind(tag)
        self._last_kind = _kind(tag)
        self._thinking_space = None
        self._space = self._space or ""
        self._is_after_block = True

    def _pass(self, text: str) -> None:
        if not text:
            return
        self._place.advance(text)
        if self._kind:
            self._pass_thinking(text)
        else:
            self._pass_content(text)

    def _pass_thinking(self, text: str) -> None:
        if self._thinking_space is None:
            text = text.lstrip()
            if not text:
                return
            if self._has_thinking:
                self._thinking.append("\n\n")
            self._has_thinking = True
        else:
            text = self._thinking_space + text
        thought = text.rstrip()
        self._thinking.append(thought)
        self._thinking_space = text[len(thought) :]

    def _pass_content(self, text: str) -> None:
        if self._space is not None:
            text = self._space + text
            shown = text.lstrip()
            if not shown:
                self._space = text
                return
            if self._is_after_block and (not self._last_content or self._last_content.isspace()):
                text = shown
            self._space = None
        self._content.append(text)
        self._last_content = text[-1]


class _Place:
    """Where a text stands: after which text in its line, and whether in a fenced block.

    :ivar line: the line so far; its last NEARBY characters if it is longer
    :ivar openings_in_code: the opening tags in the fenced block that have no closing tag there
    """

    def __init__(self) -> None:
        self.line = ""
        self.openings_in_code = 0
        self._fence = ""

    def advance(self, text: str) -> None:
        """Go to the end of this text."""
        text = self.line + text
        if "\n" in text:
            *complete, text = text.split("\n")
            for line in complete:
                if "```" in line or "~~~" in line:
                    self._pass_fence(line[-NEARBY:])
        self.line = text[-NEARBY:]

    def count_tag(self, is_closing: bool) -> None:
        """Count a tag that is text."""
        if self.is_code:
            self.openings_in_code = max(self.openings_in_code + (-1 if is_closing else 1), 0)

    @property
    def is_code(self) -> bool:
        """Whether the place is in a fenced block, or in the line that begins one."""
        return not self._ends_fence(self.line) if self._fence else _FENCE.match(self.line) is not None

    @property
    def is_indented(self) -> bool:
        """Whether the place is at the start of a line in an indented block of code."""
        return _INDENTED.match(self.line) is not None

    @property
    def is_between_sentences(self) -> bool:
        """Whether the place is at the start of a line, or after the end of a sentence."""
        return not self.line.strip() or _SENTENCE_END.search(self.line) is not None

    def is_quoted(self, rest: str, is_complete: bool) -> bool | None:
        """Whether a code span or a quotation that began before the place ends after it, in the same line. None if this
        depends on text that has not come."""
        rest, line_end, _ = rest.partition("\n")
        closing = self._closing_marks()
        if any(mark in rest for mark in closing) or self.line.endswith("'") and rest.startswith("'"):
            return True
        may_be = closing or self.line.endswith("'") and not rest
        return None if may_be and not line_end and not is_complete else False

    @property
    def is_after_opening_mark(self) -> bool:
        """Whether a quotation or a code span begins directly before the place. It may go on in the next lines."""
        return self.line.endswith(("`", *_QUOTATION_MARKS)) and bool(self._closing_marks())

    def _closing_marks(self) -> list[str]:
        """The marks that would end what is open at this place: quotations and code spans."""
        marks, position = [], 0
        while mark := _MARK.search(self.line, position):
            closing = _QUOTATION_MARKS.get(mark[0], mark[0])
            end = self.line.find(closing, mark.end())
            if end < 0:
                marks.append(closing)
            position = mark.end() if end < 0 else end + len(closing)
        return marks

    def _pass_fence(self, line: str) -> None:
        if self._fence:
            if self._ends_fence(line):
                self._fence, self.openings_in_code = "", 0
        elif fence := _FENCE.match(line):
            self._fence = fence[1]

    def _ends_fence(self, line: str) -> bool:
        fence = _FENCE.match(line)
        return fence is not None and fence[1].startswith(self._fence) and not fence[2].strip()


def _kind(tag: str) -> str:
    return "details" if "details" in tag.lower() else "think"


def _is_closing(tag: str) -> bool:
    return tag.startswith("</")


def _not(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def _has_line_ends(rest: str, number: int, is_complete: bool) -> bool | None:
    """Whether a text begins with so many ends of lines, with nothing but blanks before them. None if this depends on
    text that has not come."""
    blanks = rest[: len(rest) - len(rest.lstrip())]
    if blanks.count("\n") >= number:
        return True
    return None if blanks == rest and not is_complete else False
