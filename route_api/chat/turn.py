"""A turn of a conversation, from the request to the answer.

| step | module |
|---|---|
| choose the prompt template and the backend | `plan.py`, `backends.py` |
| store the question; at the end, store the answer | `storing.py` |
| find the passages, load the history, build the prompt | `preparation.py` |
| ask Dify | this module |
| read Dify's events | `turn_in_progress.py` adds them to the answer |
| relay a streamed answer | `relay.py`, `stream_events.py` |
| go on with a paused answer | `resumption.py` |

The question is stored before Dify is asked anything, so a crash loses no question. An answer is stored each second
while it arrives (`monitor.py`), so a crash loses at most its last second. Dify streams each answer, also one that our
caller gets in one piece: only a stream has the id of Dify's task, without which nothing can stop the model. No database
connection is held while the model generates.
"""

import logging
import socket
from collections.abc import Generator
from typing import Any

from ..dify import EventStream
from ..errors import DifyNotFound, DifyRejected, ModelFailed
from ..languages import Sentence
from ..monitoring import metrics
from .answers import complete_answer
from .monitor import turn_monitor
from .plan import Plan, plan_turn
from .preparation import PreparedTurn, parent_message_id, prepare_turn
from .relay import collect_answer, log_failure, relay_answer, stopped_stream, writer_of
from .request import ChatRequest
from .storing import store_failure, store_question
from .stream_events import EventWriter
from .turn_in_progress import TurnInProgress, TurnStopped

Json = dict[str, Any]

log = logging.getLogger(__name__)


def answer_turn(request: ChatRequest, caller: socket.socket | None) -> tuple[Json, Json]:
    """Answer a turn in one piece.

    Most turns take one call to Dify for the answer and one for each knowledge base, and two or three round trips to the
    database. More calls to Dify are made for a long question, for data that `backends.py` has not cached, and if Dify
    has lost its conversation. A history takes one more round trip to the database.

    :param caller: the caller's connection, which the monitor watches; None if the server does not give it
    :returns: the answer's `data`; the further keys of the body beside `data`
    :raises ApiError: any error of `plan_turn`, Dify or the database. Once the question is stored, the reason and the
        part of the answer are stored with it.
    """
    plan = plan_turn(request)
    turn = store_question(plan, caller)
    try:
        with store_failure(plan, turn):
            prepared, events = ask_dify(plan, turn, in_one_piece=True)
    except TurnStopped:
        return complete_answer(plan, turn, None, "stopped")
    with turn_monitor.ensure_end(turn):
        status = collect_answer(plan, turn, prepared, events)
    return complete_answer(plan, turn, prepared, status)


def stream_turn(request: ChatRequest, caller: socket.socket | None) -> Generator[bytes]:
    """Answer a turn as server-sent events. Makes the same calls as :func:`answer_turn`, and further round trips to the
    database while the answer arrives.

    :param caller: the caller's connection, which the monitor watches; None if the server does not give it
    :returns: the events. If an error occurs after Dify has begun to answer, it is the last event.
    :raises ApiError: the same errors as :func:`answer_turn`, before Dify begins to answer
    """
    plan = plan_turn(request)
    turn = store_question(plan, caller)
    if request.stream_mode == "events":
        relay = with_ensured_end(turn, relay_with_sources(plan, turn))
        next(relay)
        return relay
    try:
        with store_failure(plan, turn):
            prepared, events = ask_dify(plan, turn, in_one_piece=False)
    except TurnStopped:
        return stopped_stream(plan, turn)
    relay = with_ensured_end(turn, relay_answer(plan, turn, prepared, events))
    next(relay)
    return relay


def relay_with_sources(plan: Plan, turn: TurnInProgress) -> Generator[bytes]:
    """The events of a turn in the stream mode `events`. The passages are sent before Dify is asked, so that the caller
    sees them while the model is still silent.

    The first item is empty, as that of :func:`relay_answer`. An error after it is the last event of the stream, also if
    Dify refuses to answer at all.

    :raises ApiError: before the first item: the same errors as :func:`answer_turn`, until the passages are found
    """
    writer: EventWriter | None = None
    try:
        with store_failure(plan, turn):
            prepared = prepare_question(plan, turn)
            writer = writer_of(plan, turn)
            try:
                yield b""
                yield writer.write("")
            except GeneratorExit as left:
                turn.end_reason = turn.end_reason or "caller_left"
                raise TurnStopped from left
            prepared, events = send_question(plan, turn, prepared, in_one_piece=False)
    except TurnStopped:
        metrics.count_stream(str(turn.end_reason))
        if writer is None:
            yield b""
        if turn.end_reason == "caller_left":
            return
        yield (writer or writer_of(plan, turn)).write_last(*complete_answer(plan, turn, None, "stopped"))
        return
    except Exception as error:
        if writer is None:
            raise
        metrics.count_stream("failed")
        yield writer.write_failure(log_failure(error))
        return
    relay = relay_answer(plan, turn, prepared, events, writer)
    next(relay)
    yield from relay


def with_ensured_end(turn: TurnInProgress, relay: Generator[bytes]) -> Generator[bytes]:
    """The same events. When they end, for whatever reason, the turn has ended too."""
    with turn_monitor.ensure_end(turn):
        yield from relay


def ask_dify(plan: Plan, turn: TurnInProgress, *, in_one_piece: bool) -> tuple[PreparedTurn, EventStream]:
    """Choose the backend, prepare the turn, and ask Dify.

    If Dify no longer has the conversation that continues ours, ask in a new conversation on Dify. The prompt then has
    the earlier turns from our database.

    :param in_one_piece: whether the caller waits for the whole answer, so that its time is limited
    :returns: the prepared turn, and Dify's events
    :raises ValidationFailed: Dify has no such model or parameter
    :raises ModelFailed: Dify refused the request as invalid (:class:`DifyRejected`), usually because the model failed
    :raises TurnStopped: the turn was interrupted before Dify was asked
    """
    return send_question(plan, turn, prepare_question(plan, turn), in_one_piece=in_one_piece)


def prepare_question(plan: Plan, turn: TurnInProgress) -> PreparedTurn:
    """The first half of :func:`ask_dify`: choose the backend, and prepare the turn."""
    turn.row.options["carrier"] = plan.choose_backend()
    prepared = prepare_turn(plan, turn.row, turn.row.dify_conversation)
    turn.passages = prepared.prompt.passages
    return prepared


def send_question(
    plan: Plan, turn: TurnInProgress, prepared: PreparedTurn, *, in_one_piece: bool
) -> tuple[PreparedTurn, EventStream]:
    """The second half of :func:`ask_dify`: ask Dify, a second time if it has lost the conversation."""
    try:
        return prepared, _send(plan, turn, prepared, in_one_piece)
    except DifyNotFound:
        if prepared.dify_conversation is None:
            raise
    log.warning("Dify no longer has its conversation for our conversation %s", turn.row.conversation_id)
    turn.prepare()
    prepared = prepare_turn(plan, turn.row, None)
    turn.passages = prepared.prompt.passages
    return prepared, _send(plan, turn, prepared, in_one_piece)


def _send(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn, in_one_piece: bool) -> EventStream:
    api = plan.backend.api
    body: Json = {"query": prepared.prompt.query, "inputs": prepared.prompt.inputs, "user": turn.row.user_id}
    if plan.backend.model_config is not None:
        body["model_config"] = plan.backend.model_config
    if prepared.dify_conversation is not None:
        body["conversation_id"] = prepared.dify_conversation.dify_conversation_id
        if plan.backend.is_debugger:
            parent = parent_message_id(plan.engine, turn.row, prepared.dify_conversation)
            body |= {"parent_message_id": parent} if parent else {}
    turn.begin_asking(api.answer_timeout if in_one_piece else None, needs_task=plan.backend.needs_task)
    try:
        return api.stream(body, in_one_piece=in_one_piece)
    except DifyRejected as error:
        raise ModelFailed(Sentence("The model could not answer: {reason}", reason=error.message)) from error
