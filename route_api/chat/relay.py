"""What is relayed of a streamed answer: Dify's events come in, the caller's events go out."""

import logging
from collections.abc import Generator
from typing import Any

from ..dify import EventStream, error_text
from ..envelope import elapsed_s, internal_error
from ..errors import ApiError, DifyError, DifyTimeout, GatewayStopped, ModelFailed
from ..extensions import components
from ..monitoring import metrics, tracing
from ..presenters.message import answer_data, rag_info
from .monitor import TurnInProgress
from .plan import Plan
from .preparation import PreparedTurn
from .storing import reason_of, turn_end
from .stream_events import KEEP_ALIVE, EventWriter

Json = dict[str, Any]

log = logging.getLogger(__name__)


def relay_answer(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn, events: EventStream) -> Generator[bytes]:
    """Dify's events as ours. Every way out stores what came, also when the caller leaves.

    The first piece is empty, so that `stream_turn` can start the generator: a generator that has not started would not
    run its `finally` when it is closed.
    """
    writer = EventWriter(turn.row.ids, think=plan.request.think, is_cumulative=plan.request.is_cumulative)
    turn.watch(events)
    metrics.open_streams.inc()
    failure: Exception | None = None
    try:
        yield b""
        for event in events:
            is_first = turn.last_event is None
            if "message_id" in event:  # Before a piece is yielded: a caller may leave at the first one.
                turn.last_event = event
            if turn.ended_by and not turn.is_answered:
                break
            if piece := relay_event(turn, event, writer, is_first=is_first):
                yield piece
    except Exception as error:
        if not turn.ended_by:
            failure = error
            yield writer.write_failure(failure_of_stream(error))
    finally:
        events.close()
        status, reason = outcome(turn, failure)
        if not turn.is_answered and (status == "stopped" or isinstance(failure, DifyTimeout)):
            stop_generation(plan, turn)
        metrics.open_streams.dec()
        metrics.count_stream(str(reason) if status == "stopped" else status)
        components.turn_monitor.finish(turn, turn_end(plan, turn, prepared, status, reason))
    if turn.is_answered:
        yield writer.write_last(*whole_answer(plan, turn, prepared, status))
    elif turn.ended_by == "gateway_stopped":
        yield writer.write_failure(GatewayStopped())


def relay_event(turn: TurnInProgress, event: Json, writer: EventWriter, *, is_first: bool) -> bytes:
    """Add one of Dify's events to the turn.

    :param is_first: the caller gets the ids with the first event, whatever it says
    :returns: the event that the caller gets for it; empty if there is none
    :raises ModelFailed: the event says that the model failed
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
            pass  # Everything that it says is taken from `turn.last_event` when the stream is over.
        case "error":
            reason = error_text(event.get("status", 500), event)
            raise ModelFailed(f"The model could not answer: {reason}")
        case "ping":
            return KEEP_ALIVE
        case _ if is_first:
            return writer.write("")
    return b""


def outcome(turn: TurnInProgress, failure: Exception | None) -> tuple[str, str | None]:
    """Status and reason of a streamed turn that is over.

    A stopped answer ends like any other, but with a usage of no tokens (`tests/contract`, chat/streaming-stopped).
    """
    if turn.is_answered:
        usage = ((turn.last_event or {}).get("metadata") or {}).get("usage") or {}
        return ("stopped", "stop_requested") if usage.get("total_tokens") == 0 else ("done", None)
    if failure is not None:
        return "failed", reason_of(failure)
    return "stopped", turn.ended_by or "caller_left"


def failure_of_stream(error: Exception) -> ApiError:
    """The error that the caller is told when a stream fails in its middle; logged here."""
    problem = error if isinstance(error, ApiError) else internal_error()
    if problem is not error:
        log.exception("unexpected error in the middle of an answer")
    log.error("the answer broke off: %s: %s", problem.code, problem.message)
    return problem


def stop_generation(plan: Plan, turn: TurnInProgress) -> None:
    """Tell Dify to stop: it would go on generating for nobody, and store an empty answer
    (`tests/contract/FINDINGS.md`, f)."""
    if turn.task_id is None:
        return
    tracing.current().resume()  # The stop of the gateway may have interrupted this turn's calls.
    try:
        plan.backend.api.stop(turn.task_id, turn.row.user_id)
    except DifyError as error:
        log.warning("Dify could not be told to stop: %s", error.message)


def whole_answer(plan: Plan, turn: TurnInProgress, prepared: PreparedTurn, status: str) -> tuple[Json, Json]:
    """The answer in one piece: its `data`, and the keys that stand beside `data`."""
    request, prompt = plan.request, prepared.prompt
    passages = turn.passages if request.has_kb else None
    data = answer_data(turn.text, ids=turn.row.ids, status=status, think=request.think, passages=passages)
    if not request.has_kb:
        return data, {}
    return data, {"rag_info": rag_info(request.kb_ids, prompt.context, prompt.passages)}
