"""What a model thinks apart from what it says, in a whole answer and in one that comes in pieces."""

import re
from enum import Enum, auto

OPENING, CLOSING = "<think>", "</think>"

THINKING = re.compile(r"\s*(?:<think>)?(.*?)</think>\s*(.*)", re.DOTALL)


def split_thinking(answer: str) -> tuple[str, str]:
    """What the model thought and what it said, split at `</think>` (API document, "conversation/completion").

    An answer that was stopped while the model was thinking is all thought.
    """
    match = THINKING.fullmatch(answer)
    if match:
        return match[1].strip(), match[2]
    if answer.lstrip().startswith(OPENING):
        return answer.lstrip().removeprefix(OPENING).strip(), ""
    return "", answer


class _Stage(Enum):
    UNDECIDED = auto()
    THINKING = auto()
    CONTENT = auto()


class ThinkFilter:
    """Tells thought and content apart while they come; tags may be cut anywhere.

    Only a `<think>` at the very beginning, white space aside, opens the thinking: then the pieces add up to what
    `split_thinking` makes of the whole. Some models begin to think without that tag and only close with `</think>`
    (the API document's example does). Until then nothing tells their thought from an answer, and what was sent cannot
    be taken back: all of it, the lone tag too, is content here, while `split_thinking`, which sees the whole,
    separates it.

    A text is held back only while it could still be part of a tag, or be white space beside one.
    """

    def __init__(self) -> None:
        self._stage = _Stage.UNDECIDED
        self._held = ""
        self._after_tag = False

    def feed(self, delta: str) -> tuple[str, str]:
        """What of the answer so far can be passed on: more thinking, more content."""
        if self._stage is _Stage.CONTENT and not self._after_tag:
            return "", delta
        text, self._held, thinking = self._held + delta, "", ""
        if self._stage is _Stage.UNDECIDED:
            text = self._decide(text)
        if self._stage is _Stage.THINKING:
            thinking, text = self._think(text)
        if self._stage is _Stage.CONTENT:
            return thinking, self._without_space_after_tag(text)
        return thinking, ""

    def finish(self) -> tuple[str, str]:
        """The rest, once the answer has ended: what was held back and turned out to be no tag."""
        rest, self._held = self._held, ""
        return (rest.rstrip(), "") if self._stage is _Stage.THINKING else ("", rest)

    def _decide(self, text: str) -> str:
        """See whether the answer begins with a thought; what is left to be looked at."""
        start = text.lstrip()
        if start.startswith(OPENING):
            self._stage, self._after_tag = _Stage.THINKING, True
            return start.removeprefix(OPENING)
        if OPENING.startswith(start):
            self._held = text
            return ""
        self._stage = _Stage.CONTENT
        return text

    def _think(self, text: str) -> tuple[str, str]:
        """More thinking, and what follows it where it ends."""
        thought, closing, rest = self._without_space_after_tag(text).partition(CLOSING)
        if closing:
            self._stage, self._after_tag = _Stage.CONTENT, True
            return thought.rstrip(), rest
        sure = len(thought[: _begin_of_closing(thought)].rstrip())
        self._held = thought[sure:]
        return thought[:sure], ""

    def _without_space_after_tag(self, text: str) -> str:
        if self._after_tag:
            text = text.lstrip()
            self._after_tag = not text
        return text


def _begin_of_closing(text: str) -> int:
    """Where a closing tag may begin that `text` does not hold whole; its end if there is none."""
    cut = next((n for n in range(len(CLOSING) - 1, 0, -1) if text.endswith(CLOSING[:n])), 0)
    return len(text) - cut
