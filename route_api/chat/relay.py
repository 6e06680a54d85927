"""Relays a streamed answer: reads Dify's events and writes the caller's events."""

import logging
from collections.abc import Generator
from typing import Any

from ..dify import EventStream, error_text
from ..envelope import elapsed_s, internal_error
from ..errors import ApiError, DifyError, DifyTimeout, GatewayStopped, ModelFailed
from ..monitoring import metrics, tracing
from ..presenters.message import answer_data, rag_info
from .monitor import TurnInProgress, turn_monitor
from .plan import Plan
from .preparation import PreparedTurn
from .storing import failure_reason, turn_end
from .stream_events import KEEP_ALIVE, EventWriter

Json = dict[str, Any]

log = logging.getLogger(__name__)


def relay_answer(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn, events: EventStream) -> Generator[bytes]:
    """Read Dify's events and yield the caller's events. The answer so far is always stored, also if the caller leaves.

    The first piece is empty and is consumed by `stream_turn`, which so starts the generator. A generator that was never
    started does not run its `finally` when it is closed.
    """
    writer = EventWriter(turn.row.ids, think=plan.request.think, is_cumulative=plan.request.is_cumulative)
    turn.watch(events)
    metrics.open_streams.inc()
    failure: Exception | None = None
    try:
        yield b""
        for event in events:
            is_first = turn.last_event is None
            if "message_id" in event:  # Set before the first yield, where the caller may leave.
                turn.last_event = event
            if turn.ended_by and not turn.is_answered:
                break
            if piece := relay_event(turn, event, writer, is_first=is_first):
                yield piece
    except Exception as error:
        if not turn.ended_by:
            failure = error
            yield writer.write_failure(log_failure(error))
    finally:
        if failure is None and turn.task_id is None and turn.ended_by != "gateway_stopped":
            read_task_id(turn, events)
        events.close()
        status, reason = status_and_reason(turn, failure)
        if not turn.is_answered and (status == "stopped" or isinstance(failure, DifyTimeout)):
            stop_generation(plan, turn)
        metrics.open_streams.dec()
        metrics.count_stream(str(reason) if status == "stopped" else status)
        turn_monitor.finish(turn, turn_end(plan, turn, prepared, status, reason))
    if turn.is_answered:
        yield writer.write_last(*complete_answer(plan, turn, prepared, status))
    elif turn.ended_by == "gateway_stopped":
        yield writer.write_failure(GatewayStopped())


def relay_event(turn: TurnInProgress, event: Json, writer: EventWriter, *, is_first: bool) -> bytes:
    """Add one of Dify's events to the turn, and write the caller's event for it.

    :param is_first: whether this is Dify's first event; the caller then gets an event with the ids in any case
    :returns: the caller's event; empty if the caller gets none
    :raises ModelFailed: the event reports that the model failed
    """
    match event.get("event"):
        case "message" | "agent_message":
            turn.text += event["answer"]
            turn.pieces += 1
            if turn.pieces == 1:
                metrics.first_token_seconds.observe(elapsed_s())
            return writer.write(event["answer"])
        case "message_replace":
            turn.text = event["answer"]
        case "message_end":
            pass  # Its data are read from `turn.last_event` when the stream is over.
        case "error":
            reason = error_text(event.get("status", 500), event)
            raise ModelFailed(f"The model could not answer: {reason}")
        case "ping":
            return KEEP_ALIVE
        case _ if is_first:
            return writer.write("")
    return b""


def status_and_reason(turn: TurnInProgress, failure: Exception | None) -> tuple[str, str | None]:
    """The status of a stream that has ended, and the reason if it was stopped or failed.

    When Dify stops a task, the stream ends with the usual event, but its usage has 0 tokens
    (`tests/contract/dify-1.12.1/chat/streaming-stopped.json`).
    """
    if turn.is_answered:
        usage = ((turn.last_event or {}).get("metadata") or {}).get("usage") or {}
        return ("stopped", "stop_requested") if usage.get("total_tokens") == 0 else ("done", None)
    if failure is not None:
        return "failed", failure_reason(failure)
    return "stopped", turn.ended_by or "caller_left"


def log_failure(error: Exception) -> ApiError:
    """Log the error that broke a stream off.

    :returns: the error that the caller gets
    """
    shown_error = error if isinstance(error, ApiError) else internal_error()
    if shown_error is not error:
        log.exception("unexpected error in the middle of an answer")
    log.error("the answer broke off: %s: %s", shown_error.code, shown_error.message)
    return shown_error


def read_task_id(turn: TurnInProgress, events: EventStream) -> None:
    """Read on after the caller has left, until Dify names the task: Dify can stop nothing else. A model that thinks for
    long has begun to generate by then, but a ping of Dify's names no task."""
    try:
        turn.last_event = next((event for event in events if "task_id" in event), None)
    except DifyError as error:
        log.warning("Dify has named no task to stop: %s", error.message)


def stop_generation(plan: Plan, turn: TurnInProgress) -> None:
    """Tell Dify to stop. Otherwise Dify generates an answer that nobody reads, and stores an empty answer
    (`tests/contract/FINDINGS.md`, f)."""
    if turn.task_id is None:
        return
    tracing.current().resume()  # The calls of this turn may be interrupted, because the gateway is stopping.
    try:
        plan.backend.api.stop(turn.task_id, turn.row.user_id)
    except DifyError as error:
        log.warning("Dify could not be told to stop: %s", error.message)


def complete_answer(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn, status: str) -> tuple[Json, Json]:
    """The complete answer in one piece.

    :returns: its `data`; the further keys of the body beside `data`
    """
    request, prompt = plan.request, prepared.prompt
    passages = turn.passages if request.has_kb else None
    data = answer_data(turn.text, ids=turn.row.ids, status=status, think=request.think, passages=passages)
    if not request.has_kb:
        return data, {}
    return data, {"rag_info": rag_info(request.kb_ids, prompt.context, prompt.passages)}
