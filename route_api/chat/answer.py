"""The answer of a turn in one piece."""

from typing import Any

from .. import presenters, prompts
from .monitor import TurnInProgress
from .plan import Plan
from .preparation import PreparedTurn

Json = dict[str, Any]


def answer_data(plan: Plan, turn: TurnInProgress, status: str) -> Json:
    """The `data` of the answer in one piece."""
    thinking, content = prompts.split_thinking(turn.text)
    data = {
        "answer": turn.text if plan.request.think == "keep" else content,
        **turn.row.ids,
        "content": content,
        "status": status,
        "thinking": "" if plan.request.think == "drop" else thinking,
    }
    if plan.request.has_kb:
        data["reference"] = presenters.ragflow_reference(turn.passages)
    return data


def beside_data(plan: Plan, prepared: PreparedTurn) -> Json:
    """The keys that stand beside the answer's `data`."""
    if not plan.request.has_kb:
        return {}
    prompt, kb_ids = prepared.prompt, plan.request.kb_ids
    rag_info = {
        "context_length": len(prompt.context),
        "context_used": bool(prompt.passages),
        "kb_id": kb_ids[0] if kb_ids else None,
        "kb_ids": list(kb_ids),
        "references": [presenters.reference(record) for record in prompt.passages],
    }
    return {"rag_info": rag_info}
