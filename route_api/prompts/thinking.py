"""Separates a model's thinking from its answer: in a whole text, and in a text that comes in pieces."""

from enum import Enum, auto

OPENING, CLOSING = "<think>", "</think>"


def split_thinking(answer: str) -> tuple[str, str]:
    """Split an answer at the first `</think>` (API document, "conversation/completion").

    :param answer: the whole text of a model. Without `</think>` it is content, or, if it begins with `<think>`, the
        thinking of an answer that was stopped
    :returns: the thinking and the content
    """
    thinking, closing, content = answer.partition(CLOSING)
    if closing:
        return thinking.lstrip().removeprefix(OPENING).strip(), content.lstrip()
    if answer.lstrip().startswith(OPENING):
        return answer.lstrip().removeprefix(OPENING).strip(), ""
    return "", answer


class _Stage(Enum):
    UNDECIDED = auto()
    THINKING = auto()
    CONTENT = auto()


class ThinkFilter:
    """Separates thinking from content while an answer comes in pieces; a tag may be cut anywhere.

    Thinking begins only with a `<think>` at the start of the answer, after white space at most. For such an answer, and
    for one without tags, the pieces add up to the result of :func:`split_thinking`.

    Some models begin to think without `<think>` and only end with `</think>`, as in the API document's example. In a
    stream their thinking looks like content until the tag comes, and text that was sent cannot be taken back. So the
    filter treats all of it as content, the tag too; :func:`split_thinking` sees the whole text and separates it.

    A piece of text is held back only while it may be part of a tag, or white space next to a tag.
    """

    def __init__(self) -> None:
        self._stage = _Stage.UNDECIDED
        self._held = ""
        self._after_tag = False

    def feed(self, delta: str) -> tuple[str, str]:
        """Take the next piece of the answer.

        :returns: the next pieces of thinking and of content; each may be empty
        """
        if self._stage is _Stage.CONTENT and not self._after_tag:
            return "", delta
        text, self._held, thinking = self._held + delta, "", ""
        if self._stage is _Stage.UNDECIDED:
            text = self._decide(text)
        if self._stage is _Stage.THINKING:
            thinking, text = self._split_at_closing(text)
        if self._stage is _Stage.CONTENT:
            return thinking, self._without_space_after_tag(text)
        return thinking, ""

    def finish(self) -> tuple[str, str]:
        """End the answer.

        :returns: the last pieces of thinking and of content: text that was held back and is no tag
        """
        rest, self._held = self._held, ""
        return (rest.rstrip(), "") if self._stage is _Stage.THINKING else ("", rest)

    def _decide(self, text: str) -> str:
        """Decide whether the answer begins with thinking, if the text so far is enough to tell.

        :returns: the text after the opening tag, or the text from the start if there is no tag
        """
        start = text.lstrip()
        if start.startswith(OPENING):
            self._stage, self._after_tag = _Stage.THINKING, True
            return start.removeprefix(OPENING)
        if OPENING.startswith(start):
            self._held = text
            return ""
        self._stage = _Stage.CONTENT
        return text

    def _split_at_closing(self, text: str) -> tuple[str, str]:
        """Split a piece of thinking at the closing tag.

        :returns: the thinking, without a part that is held back, and the text after the tag
        """
        thought, closing, rest = self._without_space_after_tag(text).partition(CLOSING)
        if closing:
            self._stage, self._after_tag = _Stage.CONTENT, True
            return thought.rstrip(), rest
        end = len(thought[: _start_of_partial_closing(thought)].rstrip())
        self._held = thought[end:]
        return thought[:end], ""

    def _without_space_after_tag(self, text: str) -> str:
        if self._after_tag:
            text = text.lstrip()
            self._after_tag = not text
        return text


def _start_of_partial_closing(text: str) -> int:
    """Return where `text` ends with the beginning of a closing tag; the length of `text` if it does not."""
    length = next((n for n in range(len(CLOSING) - 1, 0, -1) if text.endswith(CLOSING[:n])), 0)
    return len(text) - length
