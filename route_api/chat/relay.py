"""Reads Dify's events: writes the caller's events for a stream, or collects the answer for a caller who gets it in one
piece."""

import logging
from collections.abc import Generator
from typing import Any

from ..dify import EventStream, error_text
from ..envelope import elapsed_s, internal_error
from ..errors import (
    ApiError,
    DifyError,
    DifyFailed,
    DifyTimeout,
    DifyUnreachable,
    DifyUnreadable,
    GatewayStopped,
    ModelFailed,
)
from ..monitoring import metrics, tracing
from .answers import complete_answer
from .monitor import TurnInProgress, TurnStopped, turn_monitor
from .plan import Plan
from .preparation import PreparedTurn
from .storing import cause_of_end, failure_reason, turn_end
from .stream_events import KEEP_ALIVE, EventWriter

Json = dict[str, Any]

log = logging.getLogger(__name__)

WAITS_FOR_PERSON_TEXT = (
    "The chatflow waits until a person fills in a form in Dify, and the gateway cannot go on with it after that. The"
    " operator should use an app without a human-input node."
)


def relay_answer(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn, events: EventStream) -> Generator[bytes]:
    """Read Dify's events and yield the caller's events. The answer so far is always stored, also if the caller leaves.

    The first item is empty. `stream_turn` takes it to start the generator, because Python runs the `finally` block of a
    generator only if the generator was started.
    """
    writer = EventWriter(turn.row.ids, think=plan.request.think, is_cumulative=plan.request.is_cumulative)
    turn.attach_events(events)
    metrics.open_streams.inc()
    failure: Exception | None = None
    try:
        yield b""
        for event in events:
            is_first_with_id = turn.last_event is None
            if "message_id" in event:  # Set before an event is yielded, because the caller may leave then.
                turn.last_event = event
            if turn.end_reason and not turn.is_answered:
                break
            if piece := relay_event(turn, event, writer, is_first_with_id=is_first_with_id):
                yield piece
        check_end(turn)
    except Exception as error:
        if not turn.end_reason:
            failure = error
            yield writer.write_failure(log_failure(error))
    finally:
        status, reason = end_answer(plan, turn, prepared, events, failure)
        metrics.open_streams.dec()
        metrics.count_stream(str(reason) if status == "stopped" else status)
    if turn.is_answered or turn.end_reason == "stop_requested":
        yield last_events(plan, turn, prepared, status, writer)
    elif turn.end_reason == "gateway_stopped":
        yield writer.write_failure(GatewayStopped())


def last_events(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn, status: str, writer: EventWriter) -> bytes:
    """The events that end a stream whose answer is stored: the complete answer, or a failure if it cannot be built."""
    try:
        return writer.write_last(*complete_answer(plan, turn, prepared, status))
    except Exception as error:
        return writer.write_failure(log_failure(error))


def relay_event(turn: TurnInProgress, event: Json, writer: EventWriter, *, is_first_with_id: bool) -> bytes:
    """Add one of Dify's events to the turn, and write the caller's event for it.

    :param is_first_with_id: whether no earlier event of Dify had a message id. An event of a type that is not handled
        here then becomes an event without text, so that the caller gets the ids before the first piece of the answer.
    :returns: the caller's event; empty if the caller gets none
    :raises ModelFailed: the event reports that the model failed
    """
    match event.get("event"):
        case "message" | "agent_message":
            turn.add_text(event["answer"])
            turn.pieces += 1
            if turn.pieces == 1:
                metrics.first_token_seconds.observe(elapsed_s())
            return writer.write(event["answer"])
        case "message_replace":
            turn.replace_text(event["answer"])
            return writer.replace(event["answer"])
        case "workflow_finished" | "workflow_paused":
            turn.chatflow_end = event
        case "message_end":
            pass  # The end of the stream reads this event from `turn.last_event`.
        case "error":
            raise model_failure(event)
        case "ping":
            return KEEP_ALIVE
        case _ if is_first_with_id:
            return writer.write("")
    return b""


def check_end(turn: TurnInProgress) -> None:
    """Find out why Dify's stream has ended without `message_end`. If somebody stopped the chatflow in Dify, the turn is
    stopped (tests/contract/DIFFERENCES-1.16.md, A 1 to 3).

    :raises ModelFailed: the chatflow has failed, or waits for a person
    :raises DifyUnreachable: the stream broke off
    """
    if turn.is_answered or turn.end_reason or turn.chatflow_end is None:
        return
    if turn.chatflow_end["event"] == "workflow_paused":
        raise ModelFailed(WAITS_FOR_PERSON_TEXT)
    data = turn.chatflow_end["data"]
    if data["status"] == "stopped":
        turn.end_reason = "stop_requested"
    elif data["status"] == "succeeded":
        raise DifyUnreachable("Dify ended the answer before it was complete.")
    else:
        raise ModelFailed(f"The model could not answer: {error_text(400, {'message': data.get('error')})}")


def model_failure(event: Json) -> ModelFailed:
    """The error for an event of Dify that reports that the model failed."""
    return ModelFailed(f"The model could not answer: {error_text(event.get('status', 500), event)}")


def stopped_stream(plan: Plan, turn: TurnInProgress) -> Generator[bytes]:
    """The caller's events of a turn that was stopped before Dify began to answer."""
    writer = EventWriter(turn.row.ids, think=plan.request.think, is_cumulative=plan.request.is_cumulative)
    yield writer.write_last(*complete_answer(plan, turn, None, "stopped"))


def collect_answer(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn, events: EventStream) -> str:
    """Read Dify's events until the answer is complete, for a caller who gets it in one piece. Store the answer so far.

    :returns: the turn's status, `done` or `stopped`
    :raises DifyError: Dify failed
    :raises ModelFailed: the model failed
    :raises GatewayStopped: the gateway is stopping, and has ended the turn
    """
    turn.attach_events(events)
    failure: Exception | None = None
    try:
        for event in events:
            if "message_id" in event:
                turn.last_event = event
            if turn.end_reason and not turn.is_answered:
                break
            match event.get("event"):
                case "message" | "agent_message":
                    turn.add_text(event["answer"])
                case "message_replace":
                    turn.replace_text(event["answer"])
                case "workflow_finished" | "workflow_paused":
                    turn.chatflow_end = event
                case "error":
                    raise failure_in_one_piece(event)
        check_end(turn)
    except Exception as error:
        cause = cause_of_end(turn, error)
        failure = None if isinstance(cause, (TurnStopped, GatewayStopped)) else cause
    finally:
        status, _ = end_answer(plan, turn, prepared, events, failure)
    if failure is not None:
        raise failure
    if turn.end_reason == "gateway_stopped" and not turn.is_answered:
        raise GatewayStopped
    return status


def failure_in_one_piece(event: Json) -> ApiError:
    """The error for an `error` event of Dify, if the caller gets the answer in one piece. It is the one that Dify's
    own blocking answer would give (tests/contract, chat/error-before-blocking-rate)."""
    status = event.get("status", 500)
    return DifyFailed(f"Dify failed with HTTP status {status}.") if status >= 500 else model_failure(event)


def end_answer(
    plan: Plan, turn: TurnInProgress, prepared: PreparedTurn, events: EventStream, failure: Exception | None
) -> tuple[str, str | None]:
    """Stop the model if the answer is not complete, and store the end of the turn.

    :param failure: the error that ended the answer; None if it is complete or was stopped
    :returns: the status; the reason if the turn was stopped or failed
    """
    if failure is None and not turn.is_answered:
        turn.end_reason = turn.end_reason or "caller_left"
        if turn.task_id is None and turn.end_reason != "gateway_stopped":
            read_task_id(turn, events)
    events.close()
    status, reason = status_and_reason(turn, failure)
    # After a timeout, and after an answer that cannot be read, Dify goes on by itself.
    has_ended = turn.is_answered or turn.chatflow_end is not None
    if not has_ended and (status == "stopped" or isinstance(failure, (DifyTimeout, DifyUnreadable))):
        stop_generation(plan, turn)
    turn_monitor.finish(turn, turn_end(plan, turn, prepared, status, reason))
    return status, reason


def status_and_reason(turn: TurnInProgress, failure: Exception | None) -> tuple[str, str | None]:
    """The status of an answer that has ended, and the reason if it was stopped or failed.

    After `conversation/stop` Dify's stream ends with the usual event, but its usage has 0 tokens
    (`tests/contract/dify-1.12.1/chat/streaming-stopped.json`). So does the answer of a workflow without a model.
    """
    if turn.is_answered:
        usage = ((turn.last_event or {}).get("metadata") or {}).get("usage") or {}
        if usage.get("total_tokens") == 0 and turn_monitor.has_stop_request(turn):
            return "stopped", "stop_requested"
        return "done", None
    if failure is not None:
        return "failed", failure_reason(failure)
    return "stopped", turn.end_reason or "caller_left"


def log_failure(error: Exception) -> ApiError:
    """Log the error that ended a stream early.

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
    """Tell Dify to stop. Otherwise the model would continue to generate, and Dify would store an empty answer
    (`tests/contract/FINDINGS.md`, f)."""
    if turn.task_id is None:
        return
    tracing.current().resume()  # If the gateway is stopping, the trace interrupts every call to Dify.
    try:
        plan.backend.api.stop(turn.task_id, turn.row.user_id)
    except DifyError as error:
        log.warning("Dify could not be told to stop: %s", error.message)
