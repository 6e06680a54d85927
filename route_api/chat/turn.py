"""A turn of a conversation, from the request to the answer.

| step | module |
|---|---|
| choose the prompt template and the backend | `plan.py`, `backends.py` |
| store the question; at the end, store the answer | `storing.py` |
| find the passages, load the history, build the prompt | `preparation.py` |
| ask Dify | this module |
| relay a streamed answer | `relay.py`, `stream_events.py` |

The question is stored before the model is asked, so a crash loses no question. A streamed answer is stored each second
while it arrives (`monitor.py`), so a crash loses at most its last second. A blocking answer is stored when it is
complete. No database connection is held while the model generates.
"""

import logging
import socket
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from ..errors import DifyNotFound, DifyRejected, ModelFailed
from .answers import complete_answer
from .monitor import TurnInProgress, turn_monitor
from .plan import Plan, plan_turn
from .preparation import PreparedTurn, parent_message_id, prepare_turn
from .relay import relay_answer
from .request import ChatRequest
from .storing import store_failure, store_question, turn_end

Json = dict[str, Any]
T = TypeVar("T")

log = logging.getLogger(__name__)


def answer_turn(request: ChatRequest) -> tuple[Json, Json]:
    """Answer a turn in one piece.

    Most turns take one call to Dify for the answer and one for each knowledge base, and two or three round trips to the
    database. More calls to Dify are made for a long question, for data that `backends.py` has not cached, and if Dify
    has lost its conversation. A history takes one more round trip to the database.

    :returns: the answer's `data`; the further keys of the body beside `data`
    :raises ApiError: any error of `plan_turn`, Dify or the database. Once the question is stored, the reason is stored
        with it.
    """
    plan = plan_turn(request)
    turn = store_question(plan, caller=None)
    with store_failure(plan, turn):
        prepared, reply = ask_dify(plan, turn, lambda body: plan.backend.api.send(body))
        turn.text, turn.last_event = reply["answer"], reply
    with turn_monitor.ensure_end(turn):
        turn_monitor.finish(turn, turn_end(plan, turn, prepared, "done"))
    return complete_answer(plan, turn, prepared, "done")


def stream_turn(request: ChatRequest, caller: socket.socket | None) -> Generator[bytes]:
    """Answer a turn as server-sent events. Makes the same calls as :func:`answer_turn`, and further round trips to the
    database while the answer arrives.

    :param caller: the caller's connection, which the monitor watches; None if the server does not give it
    :returns: the events. If an error occurs after Dify has begun to answer, it is the last event.
    :raises ApiError: the same errors as :func:`answer_turn`, before Dify begins to answer
    """
    plan = plan_turn(request)
    turn = store_question(plan, caller)
    with store_failure(plan, turn):
        prepared, events = ask_dify(plan, turn, lambda body: plan.backend.api.stream(body))
    relay = with_ensured_end(turn, relay_answer(plan, turn, prepared, events))
    next(relay)
    return relay


def with_ensured_end(turn: TurnInProgress, relay: Generator[bytes]) -> Generator[bytes]:
    """The same events. When they end, for whatever reason, the turn has ended too."""
    with turn_monitor.ensure_end(turn):
        yield from relay


def ask_dify(plan: Plan, turn: TurnInProgress, call: Callable[[Json], T]) -> tuple[PreparedTurn, T]:
    """Prepare the turn and ask Dify.

    If Dify no longer has the conversation that continues ours, ask in a new conversation on Dify. The prompt then has
    the earlier turns from our database.

    :param call: a function that sends a body to Dify and returns Dify's answer
    :returns: the prepared turn, and Dify's answer
    :raises ModelFailed: Dify refused the request as invalid (:class:`DifyRejected`), usually because the model failed
    """
    prepared = prepare_turn(plan, turn.row, turn.row.dify_conversation)
    try:
        return prepared, _send(plan, turn, prepared, call)
    except DifyNotFound:
        if prepared.dify_conversation is None:
            raise
    log.warning("Dify no longer has its conversation for our conversation %s", turn.row.conversation_id)
    prepared = prepare_turn(plan, turn.row, None)
    return prepared, _send(plan, turn, prepared, call)


def _send(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn, call: Callable[[Json], T]) -> T:
    turn.passages = prepared.prompt.passages
    body: Json = {"query": prepared.prompt.query, "inputs": prepared.prompt.inputs, "user": turn.row.user_id}
    if plan.backend.model_config is not None:
        body["model_config"] = plan.backend.model_config
    if prepared.dify_conversation is not None:
        body["conversation_id"] = prepared.dify_conversation.dify_conversation_id
        if plan.backend.is_debugger:
            parent = parent_message_id(plan.engine, turn.row, prepared.dify_conversation)
            body |= {"parent_message_id": parent} if parent else {}
    try:
        return call(body)
    except DifyRejected as error:
        raise ModelFailed(f"The model could not answer: {error.message}") from error
