"""Empty answers of a model: Dify sends them as a success in a stream, and as an error where it answers in one piece."""

from typing import Any, Callable

from ..errors import DifyRejected
from .error_answers import EMPTY_ANSWER

Json = dict[str, Any]


def accept_empty_answer(call: Callable[[], Json]) -> Json:
    """Make a blocking chat call. The error for an empty answer (tests/contract, chat/blocking-empty-answer) becomes an
    empty answer, as a stream gives it (tests/contract, chat/streaming-empty-answer).

    :returns: Dify's answer.
    """
    try:
        return call()
    except DifyRejected as error:
        if error.message != EMPTY_ANSWER:
            raise
        return {"answer": ""}
