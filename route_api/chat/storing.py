"""Stores the question of a turn before the model is asked, and builds the end of the turn for the database.

Between these two, the monitor stores the answer so far (`monitor.py`).
"""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import ApiError, DifyError, DifyTimeout, GatewayStopped
from ..languages import Sentence
from ..monitoring import tracing
from ..presenters.message import reference
from ..prompts.variables import HISTORY, our_limits
from ..storage.idempotency import KeyLease, StoredAnswer, note_turn
from ..storage.turns import DifyConversation, NewTurn, TurnEnd, begin_turn, finish_turn
from .answers import answer_for_repeats
from .monitor import turn_monitor
from .plan import Plan
from .preparation import PreparedTurn
from .turn_in_progress import PATIENT_REASONS, TurnInProgress, TurnStopped

log = logging.getLogger(__name__)


def store_question(plan: Plan, caller: socket.socket | None) -> TurnInProgress:
    """Store the question, which also takes the lease on its conversation. :func:`store_failure` registers the turn.

    Nothing is asked of Dify before this: a question is kept even if the process is killed while Dify is silent.

    :param caller: the caller's connection; None if the monitor must not watch it
    :raises ConversationNotFound: the user has no such conversation
    :raises ConversationBusy: another turn of the conversation is running
    """
    request, options = plan.request, plan.request.options
    stored_options = {
        "kb_ids": list(request.kb_ids),
        "model_name": options.model_name,
        "temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "prompt_name": request.prompt_name,
        "inputs": request.inputs,
    }
    new = NewTurn(
        user_id=request.user_id,
        query=request.message,
        chat_type="kb_chat" if request.kb_ids else "chat",
        conversation_id=request.conversation_id and request.conversation_id.replace("-", ""),
        kb_id=",".join(sorted(request.kb_ids)) or None,
        name=request.conversation_name,
        options={name: value for name, value in stored_options.items() if value not in (None, [], {})},
    )
    row = begin_turn(plan.engine, new)
    try:
        return TurnInProgress(row, tracing.current(), caller)
    except BaseException:  # For example, no file descriptor is left. The conversation must accept the next turn.
        finish_turn(plan.engine, row, TurnEnd("", "failed", ApiError.code, row.dify_conversation))
        raise


OVERDUE_TEXT = Sentence(
    "The model did not complete its answer within the time that the operator allows (DIFY_CHAT_TIMEOUT)."
)


@contextmanager
def store_failure(plan: Plan, turn: TurnInProgress) -> Iterator[None]:
    """Register the turn with the monitor, and store an error of the `with` block as the end of the turn.

    The block contains the calls to Dify before the answer begins. Storing the end also releases the lease, so the
    conversation accepts the next turn.

    :raises TurnStopped: the turn is stored as stopped, because its caller left or somebody asked to stop it
    :raises GatewayStopped: the gateway is stopping, and has ended the turn
    """
    try:
        turn_monitor.register(turn)
        if plan.request.key_lease is not None:
            note_turn(plan.engine, plan.request.key_lease, turn.row.message_id)
        try:
            yield
        except (DifyError, TurnStopped) as error:
            if (cause := cause_of_end(turn, error)) is error:
                raise
            raise cause from error
    except BaseException as error:
        is_stopped = isinstance(error, TurnStopped)
        status, reason = ("stopped", turn.end_reason) if is_stopped else ("failed", failure_reason(error))
        with turn_monitor.ensure_end(turn, failure_reason(error)):
            turn_monitor.finish(turn, turn_end(plan, turn, None, status, reason))
        raise


def cause_of_end(turn: TurnInProgress, error: Exception) -> Exception:
    """The error that ended the turn. If the monitor has interrupted a wait for Dify, Dify itself did not fail.

    :param error: the error of the call to Dify
    """
    if turn.end_reason == "gateway_stopped":
        return GatewayStopped()
    if turn.end_reason == "dify_timeout":
        return DifyTimeout(OVERDUE_TEXT)
    return TurnStopped() if turn.end_reason in PATIENT_REASONS else error


def turn_end(
    plan: Plan, turn: TurnInProgress, prepared: PreparedTurn | None, status: str, reason: str | None = None
) -> TurnEnd:
    """The end of a turn, as it is stored in the database.

    :param prepared: None if the turn failed before Dify began to answer
    :param reason: why the turn was stopped or failed; None if it is done
    """
    last = turn.last_event or {}
    dify_conversation_id = last.get("conversation_id")
    is_emptied = not turn.is_over or status == "stopped" and turn.has_agent_text
    takes_history = not turn.is_chatflow or HISTORY in our_limits(plan.backend.variables)
    if turn.is_lost or turn.text and is_emptied and takes_history:
        # Dify often stores an empty answer then, also if the model was stopped (`tests/contract/FINDINGS.md`, f), and
        # always for an agent (seen on 1.14.2). So the next turn begins a new conversation there, with our history. A
        # paused chatflow goes on in its own one, and so does one that takes no history: it would forget everything.
        next_conversation: DifyConversation | None = None
    elif dify_conversation_id is None or prepared is None:
        next_conversation = turn.row.dify_conversation
    elif prepared.replaces_memory:
        # The caller gave a history, so later turns do not continue this conversation on Dify.
        next_conversation = None
    else:
        continued, backend = prepared.dify_conversation, plan.backend
        first_position = continued.first_position if continued else turn.row.position
        model = continued.model if continued else backend.model
        next_conversation = DifyConversation(backend.name, dify_conversation_id, first_position, backend.form, model)
    return TurnEnd(
        turn.text,
        status,
        reason,
        dify_conversation=next_conversation,
        dify_message_id=last.get("message_id"),
        meta_data={
            "task_id": turn.task_id,
            "forms": turn.forms or None,
            "pause": pause_of(turn),
            "references": [reference(record) for record in turn.passages] or None,
            "usage": (last.get("metadata") or {}).get("usage") or None,
            "dify_conversation_id": dify_conversation_id,
        },
        for_repeats=answer_and_lease(plan, turn, prepared, status, reason),
    )


def pause_of(turn: TurnInProgress) -> dict[str, Any] | None:
    """What Dify needs to go on with a paused turn (`resumption.py`). Callers never see it: whoever has the token of a
    form can fill in the form."""
    if turn.chatflow_end is None or not turn.is_paused:
        return None
    tokens = {reason["form_id"]: reason["form_token"] for reason in turn.pause_reasons if reason.get("form_token")}
    return {"run_id": turn.chatflow_end.get("workflow_run_id"), "tokens": tokens}


def answer_and_lease(
    plan: Plan, turn: TurnInProgress, prepared: PreparedTurn | None, status: str, reason: str | None
) -> tuple[KeyLease, StoredAnswer] | None:
    """The answer that a repeated request gets, with the lease on its Idempotency-Key.

    :returns: None if there is no key, or if a repeated request must be carried out: the turn has failed, or it was
        stopped because its caller has left or because the gateway is stopping
    """
    lease = plan.request.key_lease
    if lease is None or prepared is None or not (status in ("done", "paused") or reason == "stop_requested"):
        return None
    try:
        answer = answer_for_repeats(plan, turn, prepared, status)
    except Exception:  # Otherwise the end of the turn would not be stored, and its conversation would stay busy.
        log.exception("the answer %s could not be written for a repeated request", turn.row.message_id)
        return None
    return None if answer is None else (lease, answer)


def failure_reason(error: BaseException) -> str:
    """The reason that is stored with a failed turn: an error code, or `interrupted` if the thread was ended."""
    if isinstance(error, ApiError):
        return error.code
    return ApiError.code if isinstance(error, Exception) else "interrupted"
