"""What a caller asks in a turn, after it was checked."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What a caller asks of the model; None leaves it to the app.

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
    :param has_kb: whether the endpoint knows knowledge bases, so that its answers have `rag_info`
    :param history: the number of turns that the model is reminded of, or their texts; None leaves it to Dify's memory
    :param think: where the model's reasoning goes: keep, drop or separate
    :param is_cumulative: whether each event of a stream has the whole text so far
    """

    user_id: str
    message: str
    conversation_id: str | None = None
    conversation_name: str | None = None
    kb_ids: tuple[str, ...] = ()
    has_kb: bool = False
    options: ModelOptions = field(default_factory=ModelOptions)
    history: int | list[dict[str, str]] | None = None
    prompt_name: str | None = None
    think: str = "keep"
    is_cumulative: bool = False
