"""`/chat`: a turn under the path of the original system of the API document 000, and the code that all turns share."""

from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

from flask import Response, request, stream_with_context

from ..access.idempotency import current_lease, idempotent
from ..access.limits import acquire_turn
from ..chat.answers import SUCCESS_TEXT
from ..chat.request import ChatRequest, ModelOptions
from ..chat.stream_events import CONTENT_TYPE
from ..chat.turn import answer_turn, stream_turn
from ..envelope import success
from ..errors import (
    DIFY_ERRORS,
    ConsoleLoginRefused,
    ConversationBusy,
    ConversationNotFound,
    GatewayStopped,
    KbNotFound,
    ModelFailed,
    NotSupported,
)
from ..schemas import completion as schemas
from .blueprint import ApiBlueprint

blueprint = ApiBlueprint("chat", __name__, url_prefix="/chat", description="Chat")

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


@blueprint.route("/chat", methods=["POST"])
@blueprint.arguments(schemas.CompletionWithKb)
@blueprint.response(200, schemas.CompletionWithKbAnswer)
@blueprint.streams(schemas.CompletionWithKbAnswer)
@blueprint.raises(TURN_ERRORS, KbNotFound)
@idempotent
def chat(given: dict[str, Any]) -> Response:
    """Ask the model, with or without a knowledge base. This is the same as `conversation/completion_db`.

    Upstream calls: the same as `conversation/completion_db`.
    """
    return respond(given, has_kb=True)


def respond(given: dict[str, Any], *, has_kb: bool) -> Response:
    """Carry out a turn and answer, in one piece or as a stream.

    :param given: the validated parameters
    :param has_kb: whether the endpoint accepts knowledge bases
    """
    with ExitStack() as at_the_end:
        at_the_end.callback(acquire_turn(given["user_id"]))
        chat_request, caller = chat_request_of(given, has_kb=has_kb), request.environ.get("gunicorn.socket")
        if given["streaming"]:
            answer = event_stream(stream_turn(chat_request, caller))
            answer.call_on_close(at_the_end.pop_all().close)
            return answer
        data, beside_data = answer_turn(chat_request, caller)
    return success(data, SUCCESS_TEXT, **beside_data)


def chat_request_of(given: dict[str, Any], *, has_kb: bool) -> ChatRequest:
    """Make a request for a turn from the validated parameters.

    The repeat of a request whose turn failed or was interrupted is a new turn in the same conversation.
    """
    lease = current_lease()
    earlier_conversation = lease.conversation_id if lease else None
    kb_id, history = given.get("kb_id"), given["history"]
    if history is None and given["history_len"] != -1:
        history = given["history_len"]
    return ChatRequest(
        user_id=given["user_id"],
        message=given["message"],
        conversation_id=earlier_conversation or given["conversation_id"],
        conversation_name=given["conversation_name"],
        kb_ids=tuple(dict.fromkeys([*([kb_id] if kb_id else []), *given.get("kb_ids", [])])),
        has_kb=has_kb,
        options=ModelOptions(given["model_name"], given["temperature"], given["max_tokens"]),
        history=history,
        prompt_name=given["prompt_name"],
        think=given["think"],
        is_cumulative=given["stream_mode"] == "cumulative",
        is_streamed=given["streaming"],
        key_lease=lease,
    )


def event_stream(events: Generator[bytes]) -> Response:
    """A streamed response of server-sent events. Its end, or a caller who leaves, closes the generator."""
    body = stream_with_context(events)
    answer = Response(body, content_type=CONTENT_TYPE, headers=STREAM_HEADERS)
    answer.call_on_close(events.close)
    return answer
