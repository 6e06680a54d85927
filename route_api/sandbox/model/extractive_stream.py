"""Streams the answer of the extractive model. Tests can control the stream with markers in the question.

- `[[fail:rate]]` fails at once; `[[midfail]]` and `[[drop]]` fail after a few words.
- `[[slow:3]]` waits 3 seconds before the first word, `[[first:3000]]` 3,000 ms.
- `[[delay:40]]` waits 40 ms between two words.
- `[[len:800]]` makes the answer at least 800 characters long, `[[empty]]` makes it empty.
- `[[nothink]]` omits the `<think>` block.

The questions of the recordings contain the same markers.
"""

import re
import time
from collections.abc import Generator, Sequence

from ..embedding.embedder import EmbeddingError
from ..text.sentences import pieces
from .extractive_model import Message, Similarity, answer
from .generation import ModelError

_MARKER = re.compile(r"\[\[(\w+)(?::([^\[\]]*))?\]\]")
WORDS_BEFORE_MIDFAIL = 8


def read_markers(question: str) -> dict[str, str]:
    """Return the markers of a question with their values."""
    return dict(_MARKER.findall(question))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def streamed_answer(
    messages: Sequence[Message],
    *,
    brief: bool,
    max_tokens: int | None,
    delay_s: float,
    similarity: Similarity | None = None,
) -> Generator[str, None, None]:
    """Yield the answer of the extractive model in pieces.

    :param delay_s: seconds between two pieces
    :param similarity: compares meanings; None: the model compares words alone
    :raises ModelError: if a marker of the question demands it, or the meanings cannot be compared
    """
    markers = read_markers(messages[-1]["content"])
    time.sleep(_number(markers.get("slow", "")) + _number(markers.get("first", "")) / 1000)
    if "fail" in markers:
        is_auth = markers["fail"] == "auth"
        raise ModelError("Incorrect API key provided" if is_auth else f"injected failure: {markers['fail']}")
    if "empty" in markers:
        return
    if "delay" in markers:
        delay_s = _number(markers["delay"]) / 1000
    plain = [{**message, "content": _MARKER.sub("", message["content"])} for message in messages]
    try:
        text = answer(plain, brief=brief, max_tokens=max_tokens, similarity=similarity)
    except EmbeddingError as error:
        raise ModelError(error.message) from error
    if "nothink" in markers:
        text = text.partition("</think>")[2].lstrip()
    if "len" in markers:
        filler = "（测试要求的填充文字。）"
        missing = int(_number(markers["len"])) - len(text)
        text += filler * (-(-max(missing, 0) // len(filler)))
    for position, piece in enumerate(pieces(text)):
        if position == WORDS_BEFORE_MIDFAIL and "midfail" in markers:
            raise ModelError(f"injected mid-stream failure: {markers['midfail'] or 'unavail'}")
        if position == WORDS_BEFORE_MIDFAIL and "drop" in markers:
            raise ModelError("Request to Plugin Daemon Service failed-500", code="invalid_param")
        yield piece
        time.sleep(delay_s)
