"""What is stored of a turn: the question first, the end last, and the reason if it fails in between.

The monitor stores what has come of the answer meanwhile (`monitor.py`).
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ApiError, DifyError, GatewayStopped
from ..extensions import components
from ..monitoring import tracing
from ..presenters.message import reference
from ..storage.turns import DifyConversation, NewTurn, TurnEnd, begin_turn
from .monitor import TurnInProgress
from .plan import Plan
from .preparation import PreparedTurn


def begin(plan: Plan, caller: socket.socket | None) -> TurnInProgress:
    """Store the question, take the lease on its conversation, and let the monitor watch the turn."""
    request, options = plan.request, plan.request.options
    asked = {
        "kb_ids": list(request.kb_ids),
        "carrier": plan.chosen_backend and plan.chosen_backend.name,
        "model_name": options.model_name,
        "temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "prompt_name": request.prompt_name,
    }
    new = NewTurn(
        user_id=request.user_id,
        query=request.message,
        chat_type="kb_chat" if request.kb_ids else "chat",
        conversation_id=request.conversation_id and request.conversation_id.replace("-", ""),
        kb_id=",".join(sorted(request.kb_ids)) or None,
        name=request.conversation_name,
        asked={name: value for name, value in asked.items() if value not in (None, [])},
    )
    return TurnInProgress(begin_turn(plan.engine, new), tracing.current(), caller)


@contextmanager
def failure_is_stored(plan: Plan, turn: TurnInProgress) -> Iterator[None]:
    """Let the monitor watch the turn. If the turn fails before its answer begins, store the reason and give the lease
    back, so that the question is kept and the next turn gets in."""
    try:
        components.turn_monitor.register(turn)
        plan.raise_problem()
        try:
            yield
        except DifyError as error:
            if turn.ended_by == "gateway_stopped":  # The monitor has interrupted the wait for Dify.
                raise GatewayStopped from error
            raise
    except BaseException as error:
        components.turn_monitor.finish(turn, turn_end(plan, turn, None, "failed", reason_of(error)))
        raise


def turn_end(
    plan: Plan, turn: TurnInProgress, prepared: PreparedTurn | None, status: str, reason: str | None = None
) -> TurnEnd:
    """What is stored when the turn ends.

    :param prepared: None if the turn failed before Dify began to answer
    """
    last = turn.last_event or {}
    dify_conversation_id = last.get("conversation_id")
    if dify_conversation_id is None or prepared is None:
        goes_on: DifyConversation | None = turn.row.dify_conversation
    elif plan.request.history is not None:
        goes_on = None  # That conversation on Dify was for this turn alone.
    else:
        since = prepared.dify_conversation.since if prepared.dify_conversation else turn.row.position
        goes_on = DifyConversation(plan.backend.name, dify_conversation_id, since)
    return TurnEnd(
        turn.text,
        status,
        reason,
        dify_conversation=goes_on,
        dify_message_id=last.get("message_id"),
        facts={
            "task_id": turn.task_id,
            "references": [reference(record) for record in turn.passages] or None,
            "usage": (last.get("metadata") or {}).get("usage") or None,
            "dify_conversation_id": dify_conversation_id,
        },
    )


def reason_of(error: BaseException) -> str:
    """The name under which a failed turn remembers its cause."""
    if isinstance(error, ApiError):
        return error.code
    return ApiError.code if isinstance(error, Exception) else "interrupted"
