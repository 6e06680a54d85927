"""Reads Dify's events: writes the caller's events for a stream, or collects the answer for a caller who gets it in one
piece."""

import logging
from collections.abc import Callable, Generator
from http import HTTPStatus
from typing import Any

from ..dify import ChatApi, EventStream, error_text
from ..envelope import elapsed_s, internal_error
from ..errors import (
    ApiError,
    DifyError,
    DifyFailed,
    DifyNotFound,
    DifyTimeout,
    DifyTooBusy,
    DifyUnreachable,
    DifyUnreadable,
    GatewayStopped,
    ModelFailed,
)
from ..languages import Sentence
from ..monitoring import metrics, tracing
from ..presenters.message import reference
from .answers import complete_answer
from .monitor import turn_monitor
from .plan import Plan
from .preparation import PreparedTurn
from .storing import cause_of_end, failure_reason, turn_end
from .stream_events import KEEP_ALIVE, EventWriter, event_writer
from .turn_in_progress import Change, TurnInProgress, TurnStopped

Json = dict[str, Any]

log = logging.getLogger(__name__)


def writer_of(plan: Plan, turn: TurnInProgress) -> EventWriter:
    """What writes the caller's events, in the form that the request asks for."""
    references = (reference(record) for record in turn.passages)  # Only one of the modes reads it.
    return event_writer(
        turn.row.ids, think=plan.request.think, stream_mode=plan.request.stream_mode, references=references
    )


def relay_answer(
    plan: Plan,
    turn: TurnInProgress,
    prepared: PreparedTurn | None,
    events: EventStream,
    writer: EventWriter | None = None,
) -> Generator[bytes]:
    """Read Dify's events and yield the caller's events. The answer so far is always stored, also if the caller leaves.

    The first item is empty. `stream_turn` takes it to start the generator, because Python runs the `finally` block of a
    generator only if the generator was started.

    :param writer: what has written the events so far; None if there are none
    """
    writer = writer or writer_of(plan, turn)
    turn.attach_events(events)
    metrics.open_streams.inc()
    failure: Exception | None = None
    try:
        yield b""
        if turn.text:  # The part before the pause that has ended now.
            yield writer.write(turn.text)
        has_ids = has_pieces = False
        for event, change in read_events(turn, events, model_failure):
            if turn.pieces and not has_pieces:
                has_pieces = True
                metrics.first_token_seconds.observe(elapsed_s())
            if change is not None:
                yield writer.replace(change.text) if change.replaces else writer.write(change.text)
            elif event.get("event") == "ping":
                yield KEEP_ALIVE
            elif turn.last_event is not None and not has_ids:
                yield writer.write("")  # So the caller gets the ids before the first piece of the answer.
            has_ids = turn.last_event is not None
    except Exception as error:
        if not turn.end_reason:
            failure = error
            yield writer.write_failure(log_failure(error))
    finally:
        status, reason = end_answer(plan, turn, prepared, events, failure)
        metrics.open_streams.dec()
        metrics.count_stream(str(reason) if status == "stopped" else status)
    if failure is None and (turn.is_over or turn.end_reason == "stop_requested"):
        yield last_events(plan, turn, prepared, status, writer)
    elif turn.end_reason == "gateway_stopped":
        yield writer.write_failure(GatewayStopped())


def last_events(
    plan: Plan, turn: TurnInProgress, prepared: PreparedTurn | None, status: str, writer: EventWriter
) -> bytes:
    """The events that end a stream whose answer is stored: the complete answer, or a failure if it cannot be built."""
    try:
        return writer.write_last(*complete_answer(plan, turn, prepared, status))
    except Exception as error:
        return writer.write_failure(log_failure(error))


def stopped_stream(plan: Plan, turn: TurnInProgress) -> Generator[bytes]:
    """The caller's events of a turn that was stopped before Dify began to answer."""
    yield writer_of(plan, turn).write_last(*complete_answer(plan, turn, None, "stopped"))


def collect_answer(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn | None, events: EventStream) -> str:
    """Read Dify's events until the answer is complete, for a caller who gets it in one piece. Store the answer so far.

    :param prepared: None if the turn was resumed after a pause
    :returns: the turn's status: `done`, `stopped` or `paused`
    :raises DifyError: Dify failed
    :raises ModelFailed: the model failed
    :raises GatewayStopped: the gateway is stopping, and has ended the turn
    """
    turn.attach_events(events)
    failure: Exception | None = None
    try:
        for _ in read_events(turn, events, failure_in_one_piece):
            continue
    except Exception as error:
        cause = cause_of_end(turn, error)
        failure = None if isinstance(cause, (TurnStopped, GatewayStopped)) else cause
    finally:
        status, _ = end_answer(plan, turn, prepared, events, failure)
    if failure is not None:
        raise failure
    if turn.end_reason == "gateway_stopped" and not turn.is_over:
        raise GatewayStopped
    return status


def read_events(
    turn: TurnInProgress, events: EventStream, failure_of: Callable[[Json], ApiError]
) -> Generator[tuple[Json, Change | None]]:
    """Read Dify's events until the answer has ended, and add them to the turn.

    :param failure_of: makes the error for an `error` event
    :returns: each event, with what it has changed in the answer
    :raises ModelFailed: the model or the chatflow has failed
    :raises DifyError: Dify failed, or gets too many requests
    """
    for event in events:
        if "message_id" in event:  # Set before an event is yielded, because the caller may leave then.
            turn.last_event = event
        if turn.end_reason and not turn.is_over:
            return
        if event.get("event") == "error":
            raise failure_of(event)
        yield event, turn.take(event)
    if not turn.end_reason:
        check_chatflow_end(turn)


def check_chatflow_end(turn: TurnInProgress) -> None:
    """Find out how a chatflow has ended. Dify 1.16.1 sends no `message_end` for one that has failed, was stopped or
    waits for a person (tests/contract/DIFFERENCES-1.16.md, A 1 to 3). If somebody stopped it in Dify, so is the turn.

    :raises ModelFailed: the chatflow has failed
    :raises DifyUnreachable: the stream broke off
    """
    if turn.chatflow_end is None or turn.is_paused:
        return
    data = turn.chatflow_end["data"]
    match data["status"]:
        case "stopped" if not turn.is_taken_back:
            turn.end_reason = "stop_requested"
        case "stopped" | "succeeded" | "partial-succeeded":
            if not turn.is_answered:
                raise DifyUnreachable(Sentence("Dify ended the answer before it was complete."))
        case _:
            raise ModelFailed(
                Sentence("The model could not answer: {reason}", reason=error_text(400, {"message": data.get("error")}))
            )


def model_failure(event: Json) -> ApiError:
    """The error for an event of Dify that reports that the model failed. An agent reports too many requests in its
    stream too (tests/contract/dify-1.16.1/chat/agent-chat-model-fails-streaming.json)."""
    text = Sentence("The model could not answer: {reason}", reason=error_text(event.get("status", 500), event))
    return DifyTooBusy(text) if event.get("status") == HTTPStatus.TOO_MANY_REQUESTS else ModelFailed(text)


def failure_in_one_piece(event: Json) -> ApiError:
    """The error for an `error` event of Dify, if the caller gets the answer in one piece. It is the one that Dify's
    own blocking answer would give (tests/contract, chat/error-before-blocking-rate)."""
    status = event.get("status", 500)
    return (
        DifyFailed(Sentence("Dify failed with HTTP status {status}.", status=status))
        if status >= 500
        else model_failure(event)
    )


def end_answer(
    plan: Plan, turn: TurnInProgress, prepared: PreparedTurn | None, events: EventStream, failure: Exception | None
) -> tuple[str, str | None]:
    """Stop the model if the answer is not complete, and store the end of the turn.

    :param failure: the error that ended the answer; None if it is complete or was stopped
    :returns: the status; the reason if the turn was stopped or failed
    """
    if turn.is_paused and turn_monitor.has_stop_request(turn):
        turn.drop_pause()
    if failure is None and not turn.is_over:
        turn.end_reason = turn.end_reason or "caller_left"
        if turn.task_id is None and turn.end_reason != "gateway_stopped":
            read_task_id(turn, events)
    events.close()
    status, reason = status_and_reason(turn, failure)
    # After a timeout, and after an answer that cannot be read, Dify goes on by itself.
    has_ended = turn.is_answered or turn.chatflow_end is not None
    if not has_ended and (status == "stopped" or isinstance(failure, (DifyTimeout, DifyUnreadable))):
        stop_generation(plan, turn)
    if isinstance(failure, DifyTimeout) and turn.last_event is None:
        turn.is_lost = has_lost_conversation(plan, turn, prepared)
    turn_monitor.finish(turn, turn_end(plan, turn, prepared, status, reason))
    return status, reason


def has_lost_conversation(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn | None) -> bool:
    """Whether Dify no longer has the conversation that the turn has continued, so that the next turn begins a new one.

    The worker of Dify 1.14.2 refuses such a question only in its log: the stream is silent (seen there). Other versions
    refuse it at once, so `ask_dify` never comes here. Makes one call to Dify, after a timeout before the first event.
    """
    api = plan.backend.api
    if prepared is None or prepared.dify_conversation is None or not isinstance(api, ChatApi):
        return False
    tracing.current().resume()  # A blocking turn whose time is over may have interrupted it.
    try:
        api.last_messages(prepared.dify_conversation.dify_conversation_id, turn.row.user_id, 1)
    except DifyNotFound:
        log.warning("Dify no longer has its conversation for our conversation %s", turn.row.conversation_id)
        return True
    except DifyError as error:
        log.warning("Dify does not tell whether it still has a conversation: %s", error.message)
    return False


def status_and_reason(turn: TurnInProgress, failure: Exception | None) -> tuple[str, str | None]:
    """The status of an answer that has ended, and the reason if it was stopped or failed.

    After `conversation/stop` the stream of an app without a chatflow ends with the usual event, but its usage has 0
    tokens (tests/contract, chat/streaming-stopped). So does an answer that no model has written: that of a chatflow
    without one, of an annotation or of Dify's moderation. It is `done`.
    """
    if failure is not None:
        return "failed", failure_reason(failure)
    if turn.is_paused:
        return "paused", None
    if not turn.is_answered:
        return "stopped", turn.end_reason or "caller_left"
    was_stopped = turn.chatflow_end is not None and turn.chatflow_end["data"].get("status") == "stopped"
    was_stopped = was_stopped and not turn.is_taken_back
    usage = ((turn.last_event or {}).get("metadata") or {}).get("usage") or {}
    if was_stopped or usage.get("total_tokens") == 0 and turn_monitor.has_stop_request(turn):
        return "stopped", "stop_requested"
    return "done", None


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
