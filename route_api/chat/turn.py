"""A turn of a conversation, from the request to the answer.

| step | module |
|---|---|
| what is decided: prompt template, backend | `plan.py`, `backends.py` |
| what is stored: the question first, the end last | `storing.py` |
| what Dify is asked: passages, history, prompt | `preparation.py` |
| what is relayed of a streamed answer | `relay.py`, `stream_events.py` |

Nothing that was said is lost: the question is stored before Dify is called, and the answer while it comes
(`monitor.py`). No database connection is held in between.
"""

import logging
import socket
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from ..errors import DifyNotFound, DifyRejected, ModelFailed
from ..extensions import components
from .monitor import TurnInProgress
from .plan import Plan, plan_turn
from .preparation import PreparedTurn, parent_message_id, prepare_turn
from .relay import relay_answer, whole_answer
from .request import ChatRequest
from .storing import begin, failure_is_stored, turn_end

Json = dict[str, Any]
T = TypeVar("T")

log = logging.getLogger(__name__)


def answer_turn(request: ChatRequest) -> tuple[Json, Json]:
    """Carry a turn out and answer in one piece.

    Makes one call to Dify, and with a knowledge base one more to retrieve. Goes to the database twice.

    :returns: the answer's `data`, and the keys that stand beside it
    :raises ApiError: anything that `plan_turn`, Dify or the database raises; the question is kept with the reason
    """
    plan = plan_turn(request)
    turn = begin(plan, caller=None)
    with failure_is_stored(plan, turn):
        prepared, reply = ask(plan, turn, lambda body: plan.backend.api.send(body))
        turn.text, turn.last_event = reply["answer"], reply
    components.turn_monitor.finish(turn, turn_end(plan, turn, prepared, "done"))
    return whole_answer(plan, turn, prepared, "done")


def stream_turn(request: ChatRequest, caller: socket.socket | None) -> Generator[bytes]:
    """Carry a turn out and answer as server-sent events. Calls and errors are those of :func:`answer_turn`.

    An error before Dify's first event is raised here; a later one is an event of the stream.

    :param caller: the caller's connection, None where the server does not tell it; the monitor watches it
    """
    plan = plan_turn(request)
    turn = begin(plan, caller)
    with failure_is_stored(plan, turn):
        prepared, events = ask(plan, turn, lambda body: plan.backend.api.stream(body))
    relay = relay_answer(plan, turn, prepared, events)
    next(relay)
    return relay


def ask(plan: Plan, turn: TurnInProgress, call: Callable[[Json], T]) -> tuple[PreparedTurn, T]:
    """Prepare the turn and ask Dify, in the conversation on Dify in which ours goes on. If Dify has lost that
    conversation, ask in a new one, where the prompt reminds the model from our database.

    :param call: sends the body to Dify
    :returns: what was asked, and Dify's answer
    :raises ModelFailed: Dify took the question, and the model could not answer it
    """
    prepared = prepare_turn(plan, turn.row, turn.row.dify_conversation)
    try:
        return prepared, _send(plan, turn, prepared, call)
    except DifyNotFound:
        if prepared.dify_conversation is None:
            raise
    log.warning("Dify no longer has its conversation behind %s", turn.row.conversation_id)
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
