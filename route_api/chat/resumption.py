"""Goes on with a paused turn, after a person has filled in the form that its chatflow waits for.

The message stays the same one: the rest of the answer is added to the part before the pause. If Dify does not take the
form, the turn is paused as before; but if the chatflow has gone on without us, the answer that Dify has is stored.
Dify's calls were seen on a live 1.14.2 (`dify/chat_app.py`).
"""

import logging
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ..dify import ChatApi, EventStream
from ..errors import (
    DifyError,
    DifyNotFound,
    FormClosed,
    GatewayStopped,
    ModelFailed,
    NotSupported,
    ValidationFailed,
)
from ..extensions import db
from ..languages import Sentence
from ..monitoring import tracing
from ..presenters.message import record_of_reference
from ..storage.paused_turns import PausedTurn, find_paused_turn, resume_turn
from ..storage.turns import TurnEnd
from .answers import complete_answer
from .monitor import turn_monitor
from .plan import Plan, plan_turn
from .relay import collect_answer, relay_answer
from .request import ChatRequest, ModelOptions
from .turn import with_ensured_end
from .turn_in_progress import TurnInProgress, TurnStopped

Json = dict[str, Any]

log = logging.getLogger(__name__)

LAST_MESSAGES = 100
"""The latest messages of a conversation on Dify among which the paused one is looked for: one page."""

ASKED_ELSEWHERE_TEXT = Sentence(
    "Dify lets only a person whom it has asked itself fill in this form, in its console or through an e-mail."
    " The operator should add the web app to the ways in which the node asks."
)

MADE_BY_END = ("dify_conversation_id", "forms", "pause", "reason", "references", "status", "task_id", "usage")
OF_PAUSE = ("forms", "pause", "reason", "status")
"""The keys of a message's `meta_data` that the end of a turn stores. The others are the options of its request."""


@dataclass(frozen=True, slots=True)
class FormSubmission:
    """The parameters of `conversation/submit_form`.

    :param form_id: may be None if the answer waits for one form
    :param action: the id of one of the form's actions
    :param inputs: the values of the form's fields, by name. A field that is left out has its default
    """

    user_id: str
    message_id: str
    form_id: str | None
    action: str
    inputs: Json
    think: str
    stream_mode: str
    is_streamed: bool


def answer_form(request: FormSubmission, caller: socket.socket | None) -> tuple[Json, Json]:
    """Submit a form, and answer with the whole answer in one piece.

    Makes two calls to Dify, and one more every five minutes for the app's variables, and five round trips to the
    database: one finds the turn, three take its lease, and one stores its end.

    :returns: the answer's `data`; the further keys of the body beside `data`
    :raises ApiError: those of :func:`find_paused_turn`, :func:`chosen_form`, :func:`resume_turn` and of Dify
    """
    plan, turn, events = _submit(request, caller)
    with turn_monitor.ensure_end(turn):
        status = collect_answer(plan, turn, None, events)
    return complete_answer(plan, turn, None, status)


def stream_form(request: FormSubmission, caller: socket.socket | None) -> Generator[bytes]:
    """Submit a form, and answer with server-sent events. The calls and the errors are those of :func:`answer_form`."""
    plan, turn, events = _submit(request, caller)
    relay = with_ensured_end(turn, relay_answer(plan, turn, None, events))
    next(relay)
    return relay


def _submit(request: FormSubmission, caller: socket.socket | None) -> tuple[Plan, TurnInProgress, EventStream]:
    paused = find_paused_turn(db.engine, request.user_id, UUID(request.message_id).hex)
    form_id, inputs = chosen_form(request, paused.meta_data.get("forms") or [])
    pause = paused.meta_data.get("pause") or {}
    token, run_id = pause.get("tokens", {}).get(form_id), pause.get("run_id")
    if not token or not run_id:
        raise NotSupported(ASKED_ELSEWHERE_TEXT)
    plan = _plan(request, paused)
    plan.choose_backend()
    api = plan.backend.api
    if not isinstance(api, ChatApi):
        raise NotSupported(Sentence("This answer was asked for through Dify's debugger, which takes no forms."))
    options = {name: value for name, value in paused.meta_data.items() if name not in MADE_BY_END}
    turn = TurnInProgress(resume_turn(plan.engine, paused, options), tracing.current(), caller, paused.response)
    # The ids of the part before the pause are those of the rest too, also before Dify's first event of it.
    on_dify = {"task_id": "task_id", "conversation_id": "dify_conversation_id"}
    turn.last_event = {name: paused.meta_data.get(stored) for name, stored in on_dify.items()}
    turn.last_event["message_id"] = paused.dify_message_id
    turn.passages = [record_of_reference(each) for each in paused.meta_data.get("references") or []]
    with _paused_again(turn, paused, api, form_id):
        turn.begin_asking(None if request.is_streamed else api.answer_timeout)
        try:
            events = api.resumed_events(run_id, request.user_id, in_one_piece=not request.is_streamed)
        except DifyNotFound as error:
            raise FormClosed(Sentence("Dify no longer has the chatflow that asked.")) from error
        # From now on a caller who leaves ends the reading of the events. If it cut off the call that submits the form,
        # nobody would know whether Dify has taken it.
        turn.attach_events(events)
        try:
            if turn.end_reason is not None:
                raise TurnStopped
            api.submit_form(token, request.user_id, request.action, inputs)
        except BaseException as error:
            events.close()
            if isinstance(error, DifyNotFound):  # A form that nobody asks for in the web app has a token all the same.
                raise NotSupported(ASKED_ELSEWHERE_TEXT) from error
            raise
    return plan, turn, events


def _plan(request: FormSubmission, paused: PausedTurn) -> Plan:
    """The plan of the turn, as its own request had it."""
    kb_ids = tuple(paused.meta_data.get("kb_ids") or ())
    return plan_turn(
        ChatRequest(
            user_id=request.user_id,
            message=paused.query,
            kb_ids=kb_ids,
            has_kb=bool(kb_ids),
            options=ModelOptions(paused.meta_data.get("model_name")),
            think=request.think,
            stream_mode=request.stream_mode,
            is_streamed=request.is_streamed,
        )
    )


@contextmanager
def _paused_again(turn: TurnInProgress, paused: PausedTurn, api: ChatApi, form_id: str) -> Iterator[None]:
    """Register the turn with the monitor. If the block fails, Dify has not taken the form: the turn is paused again, or
    is what it has become on Dify without this form.

    :raises GatewayStopped: the turn was interrupted
    :raises FormClosed: the turn has ended on Dify
    """
    kept = {name: value for name, value in paused.meta_data.items() if name in MADE_BY_END and name != "status"}
    try:
        turn_monitor.register(turn)
        yield
    except BaseException as error:
        end = _end_on_dify(turn, paused, api) if isinstance(error, (FormClosed, NotSupported)) else None
        text = paused.response
        if end is None and isinstance(error, FormClosed) and (others := _without(kept.get("forms") or [], form_id)):
            # The answer has gone on after this form, and waits for the others.
            kept["forms"], text = others, turn.text
        turn_monitor.finish(turn, end or TurnEnd(text, "paused", None, None, paused.dify_message_id, kept))
        if end is not None:
            raise FormClosed(Sentence("The answer has gone on without this form. The message has its end.")) from error
        if isinstance(error, TurnStopped) or turn.end_reason == "gateway_stopped":
            raise GatewayStopped from error
        raise


def _without(forms: list[Json], form_id: str) -> list[Json]:
    return [form for form in forms if form["form_id"] != form_id]


def _end_on_dify(turn: TurnInProgress, paused: PausedTurn, api: ChatApi) -> TurnEnd | None:
    """The end of a turn whose form somebody else has filled in, or was not filled in in time. Makes one call to Dify.

    :returns: None if the chatflow still waits or runs, or if Dify does not tell it. If it waits, `turn.text` is what
        Dify has of the answer then, if that is more than we have
    """
    try:
        messages = api.last_messages(paused.meta_data.get("dify_conversation_id", ""), paused.user_id, LAST_MESSAGES)
    except DifyError as error:
        log.warning("Dify does not tell how the answer %s has ended: %s", turn.row.message_id, error.message)
        return None
    for message in messages:
        if message["id"] != paused.dify_message_id:
            continue
        if message.get("status") == "paused":
            turn.text = max(turn.text, message["answer"] or "", key=len)
        elif message.get("status") in ("normal", "error"):
            status, reason = ("done", None) if message["status"] == "normal" else ("failed", ModelFailed.code)
            kept = {
                name: value for name, value in paused.meta_data.items() if name in MADE_BY_END and name not in OF_PAUSE
            }
            return TurnEnd(message["answer"] or paused.response, status, reason, None, paused.dify_message_id, kept)
    return None


def chosen_form(request: FormSubmission, forms: list[Json]) -> tuple[str, dict[str, str]]:
    """Check what a person has filled in.

    :param forms: the forms that the answer waits for, as our API shows them
    :returns: the id of the form, and the values of all its fields
    :raises FormClosed: the answer does not wait for this form
    :raises ValidationFailed: the form has no such action or field, or it must be named
    :raises NotSupported: the form wants a file
    """
    if request.form_id is None and len(forms) > 1:
        raise ValidationFailed(Sentence("form_id is required: the answer waits for {count} forms.", count=len(forms)))
    chosen = [form for form in forms if request.form_id in (None, form["form_id"])]
    if not chosen:
        raise FormClosed(Sentence("The answer does not wait for this form."))
    (form,) = chosen
    actions = [action["id"] for action in form["actions"]]
    if request.action not in actions:
        raise ValidationFailed(
            Sentence("action '{action}' is none of: {actions}.", action=request.action, actions=", ".join(actions))
        )
    return form["form_id"], values_of_fields({field["name"]: field for field in form["inputs"]}, request.inputs)


def values_of_fields(fields: dict[str, Json], given: Json) -> dict[str, str]:
    """The values of all fields of a form: those that a person has filled in, and the defaults of the others.

    :param fields: by name
    :raises ValidationFailed: the form has no such field, or the value is none of the field's options
    :raises NotSupported: the form wants a file
    """
    for name, value in given.items():
        if name not in fields:
            raise ValidationFailed(
                Sentence(
                    "inputs.{name} is no field of the form; it has: {fields}.",
                    name=name,
                    fields=", ".join(fields) or Sentence("none"),
                )
            )
        if not isinstance(value, str):
            raise ValidationFailed(Sentence("inputs.{name} must be a text.", name=name))
    values: dict[str, str] = {
        name: given[name] if name in given else field["default"] for name, field in fields.items()
    }
    for name, field in fields.items():
        if field["type"].startswith("file"):
            raise NotSupported(
                Sentence(
                    "The field '{name}' of the form wants a file; the gateway sends no files to Dify's apps.", name=name
                )
            )
        if field["options"] and values[name] not in field["options"]:
            raise ValidationFailed(
                Sentence(
                    "inputs.{name} '{text}' is none of: {options}.",
                    name=name,
                    text=values[name],
                    options=", ".join(field["options"]),
                )
            )
    return values
