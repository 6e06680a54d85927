"""The answer of an endpoint that asks the model: a turn, answered in one piece or as a stream."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Any, TypeVar

from flask import Response, request, stream_with_context

from ..access.idempotency import current_lease
from ..access.limits import acquire_turn
from ..chat.answers import SUCCESS_TEXT
from ..chat.request import ChatRequest, ModelOptions
from ..chat.resumption import FormSubmission
from ..chat.stream_events import CONTENT_TYPE
from ..chat.turn import answer_turn, stream_turn
from ..envelope import success
from ..errors import (
    DIFY_ERRORS,
    ConsoleLoginRefused,
    ConversationBusy,
    ConversationNotFound,
    GatewayStopped,
    ModelFailed,
    NotSupported,
)
from ..schemas.completion import NOT_GIVEN

Request = TypeVar("Request", ChatRequest, FormSubmission)

TURN_ERRORS = (
    DIFY_ERRORS,
    ConsoleLoginRefused,
    ConversationNotFound,
    ConversationBusy,
    ModelFailed,
    NotSupported,
    GatewayStopped,
)
"""The errors that a turn may raise."""

STREAM_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
"""These headers keep proxies and browsers from caching, compressing or buffering the events. `no-transform` is for the
development servers of JavaScript, which compress everything and send nothing before a block is full. nginx compresses
all the same where it is told to, but with `X-Accel-Buffering` it sends each event at once."""


def respond(given: dict[str, Any], *, has_kb: bool) -> Response:
    """Carry out a turn and answer, in one piece or as a stream.

    :param given: the validated parameters
    :param has_kb: whether the endpoint accepts knowledge bases
    """
    return carry_out(chat_request_of(given, has_kb=has_kb), stream_turn, answer_turn)


def carry_out(
    wanted: Request,
    stream: Callable[[Request, Any], Generator[bytes]],
    answer_in_one_piece: Callable[[Request, Any], tuple[dict[str, Any], dict[str, Any]]],
) -> Response:
    """Answer with the result of one of two functions, as the request wants it."""
    with ExitStack() as at_the_end:
        at_the_end.callback(acquire_turn(wanted.user_id))
        caller = request.environ.get("gunicorn.socket")
        if wanted.is_streamed:
            answer = event_stream(stream(wanted, caller))
            answer.call_on_close(at_the_end.pop_all().close)
            return answer
        data, beside_data = answer_in_one_piece(wanted, caller)
    return success(data, SUCCESS_TEXT, **beside_data)


def chat_request_of(given: dict[str, Any], *, has_kb: bool) -> ChatRequest:
    """Make a request for a turn from the validated parameters.

    The repeat of a request whose turn failed or was interrupted is a new turn in the same conversation.
    """
    lease = current_lease()
    earlier_conversation = lease.conversation_id if lease else None
    kb_id, history = given.get("kb_id"), given["history"]
    if history is None and given["history_len"] != NOT_GIVEN:
        history = given["history_len"]
    return ChatRequest(
        user_id=given["user_id"],
        message=given["message"],
        conversation_id=earlier_conversation or given["conversation_id"],
        conversation_name=given["conversation_name"],
        kb_ids=tuple(dict.fromkeys([*([kb_id] if kb_id else []), *given.get("kb_ids", [])])),
        has_kb=has_kb,
        options=ModelOptions(given["model_name"], given["temperature"], given["max_tokens"]),
        inputs=given["inputs"],
        history=history,
        prompt_name=given["prompt_name"],
        think=think_of(given),
        stream_mode=given["stream_mode"],
        is_streamed=given["streaming"],
        key_lease=lease,
    )


def think_of(given: dict[str, Any]) -> str:
    """Where the reasoning goes. A stream of named events has a name for it."""
    has_names = given["streaming"] and given["stream_mode"] == "events"
    return given["think"] or ("separate" if has_names else "keep")


def event_stream(events: Generator[bytes]) -> Response:
    """A streamed response of server-sent events. Its end, or a caller who leaves, closes the generator."""
    body = stream_with_context(events)
    answer = Response(body, content_type=CONTENT_TYPE, headers=STREAM_HEADERS)
    answer.call_on_close(events.close)
    return answer
