"""Streams the answer of a language model on an OpenAI-compatible server (Ollama, vLLM)."""

import json
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import requests

from .extractive_model import Message
from .generation import ModelError

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 300
"""Seconds between two chunks. A model that is being loaded sends nothing for a while."""
MAX_ERROR_LENGTH = 300


def streamed_completion(
    base_url: str, model: str, messages: Sequence[Message], params: dict[str, Any]
) -> Generator[str, None, None]:
    """Yield the answer piece by piece. Reasoning that comes in fields of its own is put into a `<think>` block.

    :param base_url: the URL without `/chat/completions`
    :param params: completion parameters; `num_predict` is sent as `max_tokens`
    :raises ModelError: if the server cannot be reached, or reports an error
    """
    parameters = {"max_tokens" if name == "num_predict" else name: value for name, value in params.items()}
    session = requests.Session()
    session.trust_env = False  # A proxy of the environment would get the questions of users.
    try:
        with session, session.post(
            f"{base_url.rstrip('/')}/chat/completions",
            json={"model": model, "messages": list(messages), "stream": True, **parameters},
            stream=True,
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
        ) as response:
            if not response.ok:
                raise ModelError(f"{response.status_code}: {response.text[:MAX_ERROR_LENGTH]}")
            yield from _with_thinking(_deltas(response))
    except requests.RequestException as error:
        raise ModelError(f"The language model did not answer: {type(error).__name__}") from error


def _deltas(response: requests.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines(chunk_size=1):  # A larger chunk would delay words until it is full.
        if not line.startswith(b"data:") or line == b"data: [DONE]":
            continue
        try:
            event = json.loads(line[5:])
        except ValueError as error:
            raise ModelError("The language model sent something that is not JSON.") from error
        if "error" in event:
            raise ModelError(str(event["error"])[:MAX_ERROR_LENGTH])
        for choice in event.get("choices") or []:
            yield choice.get("delta") or {}


def _with_thinking(deltas: Iterator[dict[str, Any]]) -> Iterator[str]:
    is_thinking = False
    for delta in deltas:
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning:
            yield reasoning if is_thinking else f"<think>\n{reasoning}"
            is_thinking = True
        content = delta.get("content")
        if content:
            yield f"\n</think>\n\n{content}" if is_thinking else content
            is_thinking = False
    if is_thinking:
        yield "\n</think>\n\n"
