"""Writes the server-sent events of a streamed answer. No other module knows their form."""

import json
from typing import Any

from ..envelope import failure_body, json_bytes, success_body
from ..errors import ApiError
from ..prompts.thinking import ThinkSplitter

Json = dict[str, Any]

CONTENT_TYPE = "text/event-stream; charset=utf-8"

END_EVENT = b'data: {"code":0,"message":"","data":true}\n\n'
"""The end of every successful stream. RAGFlow's clients expect it."""

KEEP_ALIVE = b": ping\n\n"
"""A comment, which clients ignore. It keeps proxies from closing an idle connection."""


class EventWriter:
    """Writes the events of one answer."""

    def __init__(self, ids: Json, *, think: str, is_cumulative: bool) -> None:
        """
        :param ids: the ids of conversation and message, which are in every event
        :param think: `keep` the reasoning in the answer, `drop` it, or `separate` it into the field `thinking`
        :param is_cumulative: whether each event has the whole text so far, not only the new piece
        """
        self._ids = ids
        self._prefix = b'data: {"code":0,"message":"","data":' + json_bytes(ids)[:-1]
        self._is_plain = think == "keep" and not is_cumulative
        self._splitter = None if think == "keep" else ThinkSplitter()
        self._shows_thinking = think == "separate"
        self._is_cumulative = is_cumulative
        self._answer = self._thinking = ""

    def write(self, piece: str) -> bytes:
        """The event for a piece of the answer."""
        if self._is_plain:
            return b'%b,"answer":%b}}\n\n' % (self._prefix, json_bytes(piece))
        return self._event(*self._split(piece))

    def replace(self, text: str) -> bytes:
        """The event for a text that replaces the answer so far. Only a cumulative stream has one: pieces that were sent
        cannot be taken back. The last event of each stream has the new text."""
        if self._is_plain:
            return b""
        self._splitter = ThinkSplitter() if self._splitter else None
        self._answer = self._thinking = ""
        replaced = self._event(*self._split(text))
        return replaced if self._is_cumulative else b""

    def write_last(self, data: Json, beside_data: Json) -> bytes:
        """The events that end a successful stream.

        They are: the text that was held back because it could have been the beginning of a `<think>` tag; the complete
        answer; the end event.

        :param data: the `data` of the complete answer
        :param beside_data: the further keys of the body beside `data`
        """
        return self._held_back() + event(success_body(data, "", **beside_data)) + END_EVENT

    def write_failure(self, error: ApiError) -> bytes:
        """The last events of a stream that fails after its first byte: the text that was held back, and the failure."""
        return self._held_back() + event({**failure_body(error), "data": self._ids})

    def _split(self, piece: str) -> tuple[str, str]:
        return self._splitter.feed(piece) if self._splitter else ("", piece)

    def _held_back(self) -> bytes:
        """The event for text that was held back and is no tag; empty if there is none."""
        thinking, content = self._splitter.finish() if self._splitter else ("", "")
        return self._event(thinking, content) if thinking or content else b""

    def _event(self, thinking: str, content: str) -> bytes:
        self._answer = self._answer + content if self._is_cumulative else content
        self._thinking = self._thinking + thinking if self._is_cumulative else thinking
        written = b'%b,"answer":%b' % (self._prefix, json_bytes(self._answer))
        if self._shows_thinking:
            written += b',"thinking":%b' % json_bytes(self._thinking)
        return written + b"}}\n\n"


def event(body: Json) -> bytes:
    """The event for a body that is already in the envelope."""
    return b"data: %b\n\n" % json_bytes(body)


def repeated_stream(ids: Json, data: Json, beside_data: Json, think: str) -> str:
    """The stream for a repeated request: the text in one event, the complete answer, the end event.

    :param data: the `data` of the complete answer. The other parameters are those of :class:`EventWriter`
    """
    piece = {**ids, "answer": data["answer"], **({"thinking": data["thinking"]} if think == "separate" else {})}
    text = event({"code": 0, "message": "", "data": piece})
    return (text + event(success_body(data, "", **beside_data)) + END_EVENT).decode()


def example_stream(answer: Json) -> str:
    """An example of a stream, for the OpenAPI document: the text in two pieces, the complete answer, the end event.

    :param answer: the example of the same answer in one piece
    """
    data = answer["data"]
    ids = {name: data[name] for name in ("conversation_id", "is_new_conversation", "message_id")}
    writer = EventWriter(ids, think="keep", is_cumulative=False)
    text = data["answer"]
    events = writer.write(text[:8]) + writer.write(text[8:]) + event({**answer, "message": ""}) + END_EVENT
    lines = (line.removeprefix("data: ") for line in events.decode().split("\n\n") if line)
    return "".join(f"data: {json.dumps(json.loads(line), ensure_ascii=False)}\n\n" for line in lines)
