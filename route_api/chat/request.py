"""The parameters of a turn, after they were validated."""

from dataclasses import dataclass, field
from typing import Any

from ..storage.idempotency import KeyLease


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The model and its parameters. None stands for the setting of the Dify app.

    :param model_name: a model of DIFY_APPS, or of the Dify workspace
    """

    model_name: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None

    @property
    def has_parameters(self) -> bool:
        return self.temperature is not None or self.max_tokens is not None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """The parameters of `conversation/completion`, `conversation/completion_db` and `chat/chat`.

    :param conversation_id: with dashes, as Dify writes ids; None starts a conversation
    :param kb_ids: empty for a conversation without a knowledge base
    :param has_kb: whether the endpoint accepts knowledge bases; its answers then have `rag_info`
    :param inputs: values for variables of the Dify app, by name
    :param history: the number of earlier turns in the prompt, or their texts; None: the memory of Dify's conversation
    :param think: `keep` the model's reasoning in the answer, `drop` it, or `separate` it into a field of its own
    :param stream_mode: the form of a stream's events: `delta`, `cumulative` or `events` (`stream_events.py`)
    :param is_streamed: whether the caller gets a stream
    :param key_lease: the lease on the request's Idempotency-Key; None without a key
    """

    user_id: str
    message: str
    conversation_id: str | None = None
    conversation_name: str | None = None
    kb_ids: tuple[str, ...] = ()
    has_kb: bool = False
    options: ModelOptions = field(default_factory=ModelOptions)
    inputs: dict[str, Any] = field(default_factory=dict)
    history: int | list[dict[str, str]] | None = None
    prompt_name: str | None = None
    think: str = "keep"
    stream_mode: str = "delta"
    is_streamed: bool = False
    key_lease: KeyLease | None = None
