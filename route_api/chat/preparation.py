"""Prepares a turn for Dify: finds the passages, loads the history, and builds the prompt."""

from dataclasses import dataclass

from sqlalchemy import Engine

from ..knowledge.retrieval import find_passages_in_kbs
from ..prompts.builder import Prompt, build_prompt
from ..prompts.history import history_from_list, history_from_turns
from ..prompts.variables import HISTORY
from ..storage.turns import DifyConversation, TurnRow, past_turns
from .plan import Plan

HISTORY_TURNS = 100
"""The maximum number of turns that are read for a history. The limit on characters is usually reached first."""


@dataclass(frozen=True, slots=True)
class PreparedTurn:
    """A turn that is ready to be sent to Dify.

    :param dify_conversation: the conversation on Dify that the turn continues; None: the turn begins a new one
    """

    prompt: Prompt
    dify_conversation: DifyConversation | None


def prepare_turn(plan: Plan, row: TurnRow, dify_conversation: DifyConversation | None) -> PreparedTurn:
    """Find the passages and build the prompt.

    Dify gives the model the earlier turns of the conversation on Dify. Our prompt adds the turns before them, for
    example those of another backend. If the app has no variable `history`, only the first question on Dify contains
    them. If the caller gives a history, the prompt has no other, and the turn begins a new conversation on Dify.

    If Dify has not kept the answer of the previous turn, or the part of it that arrived, there is no conversation on
    Dify to continue (`storing.py`). Then our history reminds the model of that part, also if the turn failed.

    :param dify_conversation: the conversation on Dify that the turn may continue; None if there is none
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
        history = load_history(engine, row, before=dify_conversation.first_position)
    else:
        # The first question of this conversation on Dify contained the turns before it. Dify remembers that question.
        history = []
    passages = find_passages_in_kbs(request.kb_ids, request.message)
    prompt = build_prompt(plan.template, backend.variables, question=request.message, records=passages, history=history)
    return PreparedTurn(prompt, dify_conversation)


def load_history(engine: Engine, row: TurnRow, *, before: int, maximum: int = HISTORY_TURNS) -> list[str]:
    """The texts of the turns of this conversation before a position, the oldest first.

    :param maximum: the maximum number of turns
    """
    if maximum == 0 or before == 1:
        return []
    turns = past_turns(engine, row, before=before, maximum=maximum)
    return history_from_turns((turn.query, turn.response) for turn in reversed(turns))


def parent_message_id(engine: Engine, row: TurnRow, dify_conversation: DifyConversation) -> str | None:
    """The id of the last successful message in this conversation on Dify.

    Without this id the debugger gives the model no earlier turn (`tests/contract/FINDINGS.md`, a).

    :returns: Dify's id; None if the conversation has no such message
    """
    if row.last_dify_message_id is not None:
        return row.last_dify_message_id
    for turn in past_turns(engine, row, before=row.position, maximum=HISTORY_TURNS):
        if turn.position >= dify_conversation.first_position and turn.dify_message_id:
            message_id: str = turn.dify_message_id
            return message_id
    return None
