"""What goes to Dify in a turn: where on Dify the turn goes on, the passages, the history, the prompt."""

from dataclasses import dataclass

from sqlalchemy import Engine

from ..knowledge.retrieval import find_passages_in_kbs
from ..prompts.builder import Prompt, build_prompt
from ..prompts.history import history_from_list, history_from_turns
from ..prompts.variables import HISTORY
from ..storage.turns import DifyConversation, TurnRow, past_turns
from .plan import Plan

HISTORY_TURNS = 100
"""Turns that are read for a history; the prompt's limit of characters usually ends it sooner."""


@dataclass(frozen=True, slots=True)
class PreparedTurn:
    """A turn that is ready to be sent.

    :param dify_conversation: the conversation on Dify that goes on; None begins a new one
    """

    prompt: Prompt
    dify_conversation: DifyConversation | None


def prepare_turn(plan: Plan, row: TurnRow, dify_conversation: DifyConversation | None) -> PreparedTurn:
    """Find the passages and write the prompt.

    Dify remembers the turns that its own conversation holds. The prompt reminds the model of the turns before those: of
    all turns, when the conversation was carried by another backend so far. When the caller gives a history, the prompt
    has that and nothing else, and the turn gets a conversation on Dify for itself.

    :param dify_conversation: where the conversation goes on as far as we know
    """
    engine, request, backend = plan.engine, plan.request, plan.backend
    if dify_conversation is not None and dify_conversation.backend != backend.name:
        dify_conversation = None
    if isinstance(request.history, list):
        dify_conversation = None
        history = history_from_list(request.history)
    elif request.history is not None:
        dify_conversation = None
        history = load_history(engine, row, before=row.position, maximum=request.history)
    elif dify_conversation is None:
        history = load_history(engine, row, before=row.position)
    elif HISTORY in backend.variables:
        history = load_history(engine, row, before=dify_conversation.since)
    else:
        history = (
            []
        )  # The question that began this conversation on Dify had the history in it, and Dify remembers that.
    passages = find_passages_in_kbs(request.kb_ids, request.message)
    prompt = build_prompt(plan.template, backend.variables, question=request.message, records=passages, history=history)
    return PreparedTurn(prompt, dify_conversation)


def load_history(engine: Engine, row: TurnRow, *, before: int, maximum: int = HISTORY_TURNS) -> list[str]:
    """The turns of this conversation before a position as texts, the oldest first."""
    if maximum == 0 or before == 1:
        return []
    turns = past_turns(engine, row, before=before, maximum=maximum)
    return history_from_turns((turn.query, turn.response) for turn in reversed(turns))


def parent_message_id(engine: Engine, row: TurnRow, dify_conversation: DifyConversation) -> str | None:
    """Dify's id of the last successful message of this conversation on Dify, None if there is none.

    The debugger remembers nothing without it (`tests/contract/FINDINGS.md`, a).
    """
    if row.last_dify_message_id is not None:
        return row.last_dify_message_id
    for turn in past_turns(engine, row, before=row.position, maximum=HISTORY_TURNS):
        if turn.position >= dify_conversation.since and turn.dify_message_id:
            message_id: str = turn.dify_message_id
            return message_id
    return None
