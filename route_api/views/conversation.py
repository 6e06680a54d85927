"""`/conversation`: asking a model, with a knowledge base or without."""

from collections.abc import Generator
from typing import Any

from flask import Response, stream_with_context

from ..chat import Chat, Question
from ..envelope import success
from ..schemas import conversation as schemas
from .resource import ResourceBlueprint

blueprint = ResourceBlueprint("conversation", __name__, url_prefix="/conversation", description="Conversations")

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""What keeps proxies and browsers from holding events back."""


@blueprint.route("/completion", methods=["POST"])
@blueprint.arguments(schemas.Completion)
@blueprint.response(200, schemas.CompletionAnswer)
def complete(given: dict[str, Any]) -> Response:
    """Ask the model.

    Upstream calls: 1, and once in five minutes one for the app's variables.
    """
    return respond(given, has_kb=False)


@blueprint.route("/completion_db", methods=["POST"])
@blueprint.arguments(schemas.CompletionWithKb)
@blueprint.response(200, schemas.CompletionWithKbAnswer)
def complete_with_kb(given: dict[str, Any]) -> Response:
    """Ask the model about a knowledge base.

    Upstream calls: 2, retrieve and chat, since Dify's chat API takes no knowledge base; and once in five minutes one for
    the app's variables. `chunk/retrieval_test` says when a search takes more.
    """
    return respond(given, has_kb=True)


def respond(given: dict[str, Any], *, has_kb: bool) -> Response:
    """One turn, in one piece or as a stream."""
    chat = Chat(
        Question(
            user_id=given["user_id"],
            text=given["message"],
            conversation_id=given["conversation_id"],
            conversation_name=given.get("conversation_name"),
            kb_id=given.get("kb_id"),
            has_kb=has_kb,
        )
    )
    if given["streaming"]:
        return event_stream(chat.stream())
    data, beside_data = chat.answer()
    return success(data, "Chat successful!", **beside_data)


def event_stream(events: Generator[bytes]) -> Response:
    """A response of server-sent events that nobody on the way holds back, and that ends when the caller leaves."""
    body = stream_with_context(events)
    answer = Response(body, content_type="text/event-stream; charset=utf-8", headers=STREAM_HEADERS)
    answer.call_on_close(events.close)
    return answer
