"""The complete answer of a turn: for the caller, and for a repeated request with the same Idempotency-Key."""

import logging
from typing import Any

from ..envelope import JSON_TYPE, json_bytes, success_body
from ..presenters.message import answer_data, rag_info
from ..storage.idempotency import StoredAnswer
from .plan import Plan
from .preparation import PreparedTurn
from .stream_events import CONTENT_TYPE, repeated_stream
from .turn_in_progress import TurnInProgress

Json = dict[str, Any]

log = logging.getLogger(__name__)

SUCCESS_TEXT = "Chat successful!"

MAX_STORED_BYTES = 4 * 1024 * 1024
"""The maximum size of an answer that is stored for a repeated request. MySQL refuses a statement over 16 MB by default,
and the end of the turn is stored in the same transaction."""


def complete_answer(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn | None, status: str) -> tuple[Json, Json]:
    """The body of the complete answer.

    :param prepared: None if the turn was stopped before Dify began to answer
    :returns: the body's `data`; the further keys of the body beside `data`
    """
    request = plan.request
    has_passages = request.has_kb or bool(turn.passages)  # The app may have knowledge of its own.
    data = answer_data(
        turn.text,
        ids=turn.row.ids,
        status=status,
        think=request.think,
        is_streamed=request.is_streamed,
        forms=turn.forms,
        passages=turn.passages if has_passages else None,
    )
    if not has_passages:
        return data, {}
    context = prepared.prompt.context if prepared is not None else ""
    return data, {"rag_info": rag_info(request.kb_ids, context, turn.passages)}


def answer_for_repeats(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn, status: str) -> StoredAnswer | None:
    """The answer that a repeated request gets, in the form that the first request has asked for.

    :returns: None if the answer is too large to be stored
    """
    request = plan.request
    data, beside_data = complete_answer(plan, turn, prepared, status)
    if request.is_streamed:
        events = repeated_stream(turn.row.ids, turn.text, data, beside_data, request.think, request.stream_mode)
        answer = StoredAnswer(200, CONTENT_TYPE, events)
    else:
        body = json_bytes(success_body(data, SUCCESS_TEXT, **beside_data)).decode()
        answer = StoredAnswer(200, JSON_TYPE, body)
    if len(answer.body) * 4 > MAX_STORED_BYTES and len(answer.body.encode()) > MAX_STORED_BYTES:
        log.warning("the answer %s is too large to be stored for a repeated request", turn.row.message_id)
        return None
    return answer
