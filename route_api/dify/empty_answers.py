"""A model that says nothing: a success in a stream, but a refusal of Dify's where the answer comes in one piece."""

from typing import Any, Callable

from ..errors import DifyRejected
from .error_answers import EMPTY_ANSWER

Json = dict[str, Any]


def or_empty_answer(ask: Callable[[], Json]) -> Json:
    """The answer that `ask` gets; an empty one where Dify refuses the model's (chat/blocking-empty-answer), as in a
    stream (chat/streaming-empty-answer)."""
    try:
        return ask()
    except DifyRejected as error:
        if error.message != EMPTY_ANSWER:
            raise
        return {"answer": ""}
