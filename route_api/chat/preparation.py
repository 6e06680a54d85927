"""Prepares a turn for Dify: decides which conversation on Dify it continues, finds the passages, loads the history, and
builds the prompt."""

import logging
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from ..knowledge.retrieval import find_passages_in_kbs
from ..languages import Sentence
from ..monitoring import tracing
from ..prompts.builder import Prompt, build_prompt
from ..prompts.history import history_from_list, history_from_turns
from ..prompts.variables import HISTORY, our_limits
from ..storage.turns import DifyConversation, TurnRow, past_turns
from .plan import Plan

log = logging.getLogger(__name__)

HISTORY_TURNS = 100
"""The maximum number of turns that are read for a history. The limit on characters is usually reached first."""

FORM_LIFETIME_S = 5.0
"""Seconds after which the variables of the app are too old for a turn that begins a conversation on Dify.

We store them with the conversation, and Dify keeps it on those that are published at that moment. A worker whose cached
ones are five minutes old might store others. One call more in five seconds is the price; within them it may still
happen.
"""

MEMORY_TEXT = Sentence(
    "history: the Dify app is a chatflow without a variable `history`, so the model got what Dify itself"
    " remembers of the conversation instead."
)
FORGOTTEN_TEXT = Sentence(
    "The model did not get the earlier turns of this conversation: Dify began a new one, and the Dify app, a"
    " chatflow, has no variable `history` for them."
)


@dataclass(frozen=True, slots=True)
class PreparedTurn:
    """A turn that is ready to be sent to Dify.

    :param dify_conversation: the conversation on Dify that the turn continues; None: the turn begins a new one
    :param replaces_memory: whether the caller gave the history, so that no later turn may continue that conversation
    """

    prompt: Prompt
    dify_conversation: DifyConversation | None
    replaces_memory: bool


def prepare_turn(plan: Plan, row: TurnRow, dify_conversation: DifyConversation | None) -> PreparedTurn:
    """Decide which conversation on Dify the turn continues, find the passages and build the prompt.

    Dify gives the model the earlier turns of the conversation on Dify. Our prompt adds the turns before them, for
    example those of another backend. If the app has no variable `history`, only the first question on Dify contains
    them. If the caller gives a history, the prompt has no other, and the turn begins a new conversation on Dify.

    If Dify has not kept the answer of the previous turn, or the part of it that arrived, there is no conversation on
    Dify to continue (`storing.py`). Then our history reminds the model of that part, also if the turn failed.

    A history never goes into the query of a chatflow, because knowledge nodes of the chatflow search with the whole
    query. Without a variable `history`, a chatflow has only what Dify remembers, and `warnings` tells the caller.

    :param dify_conversation: the conversation on Dify that the turn may continue; None if there is none
    """
    engine, request = plan.engine, plan.request
    wanted = request.history
    if wanted and not takes_history(plan):
        tracing.current().warn(MEMORY_TEXT)
        wanted = None
    candidate = dify_conversation if wanted is None else None
    continued = conversation_to_continue(plan, candidate)
    if continued is None:
        plan.choose_backend(FORM_LIFETIME_S)
        continued = conversation_to_continue(plan, candidate)
        if candidate is not None and continued is None:
            log.info("our conversation %s goes on in a new one on Dify: the app has changed", row.conversation_id)
    if isinstance(wanted, list):
        history = history_from_list(wanted)
    elif wanted is not None:
        history = load_history(engine, row, before=row.position, maximum=wanted)
    elif continued is None:
        history = load_history(engine, row, before=row.position)
    elif HISTORY in our_limits(plan.backend.variables):
        history = load_history(engine, row, before=continued.first_position)
    else:
        # The first question of this conversation on Dify contained the turns before it. Dify remembers that question.
        history = []
    if history and not takes_history(plan):
        tracing.current().warn(FORGOTTEN_TEXT)
        history = []
    passages = find_passages_in_kbs(request.kb_ids, request.message)
    limits = our_limits(plan.backend.variables)
    prompt = build_prompt(plan.template, limits, question=request.message, records=passages, history=history)
    texts = {name: text for name, text in prompt.inputs.items() if text}
    prompt = replace(prompt, inputs={**plan.input_values, **texts})
    return PreparedTurn(prompt, continued, replaces_memory=wanted is not None)


def takes_history(plan: Plan) -> bool:
    """Whether a history can reach the model: in a variable of the app, or in the query if it is no chatflow."""
    return HISTORY in our_limits(plan.backend.variables) or not plan.backend.is_chatflow


def conversation_to_continue(plan: Plan, dify_conversation: DifyConversation | None) -> DifyConversation | None:
    """The conversation on Dify, if the backend can continue it, and the app is still as it was when it began.

    Dify keeps a conversation on the variables and the model with which it began, and drops inputs that it does not know
    (tests/contract, inputs/existing-conversation-after-config-change and inputs/undeclared). So passages in a variable
    that was declared later would never reach the model. Where the variables at the beginning are not known, nothing
    shows that they are the same: the turn begins a new conversation, once.

    A chatflow answers each turn as it is published now (read in Dify's code), so its conversations go on.
    """
    backend = plan.backend
    if dify_conversation is None or dify_conversation.backend != backend.name:
        return None
    models = {dify_conversation.model, backend.model} - {None}
    if dify_conversation.form == backend.form and len(models) < 2 or backend.is_chatflow:
        return dify_conversation
    return None


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
