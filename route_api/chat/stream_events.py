"""The server-sent events of a streamed answer: the one place that knows their form."""

import json
from typing import Any

import orjson

from ..envelope import failure_body, success_body
from ..errors import ApiError
from ..prompts.thinking import ThinkFilter

Json = dict[str, Any]

END_EVENT = b'data: {"code":0,"message":"","data":true}\n\n'
"""Follows the last event of a stream that went well; RAGFlow's clients expect it."""

KEEP_ALIVE = b": ping\n\n"
"""A comment. Clients skip it, and it keeps proxies from closing a connection on which nothing is said."""


class EventWriter:
    """Writes the events of one answer."""

    def __init__(self, ids: Json, *, think: str, is_cumulative: bool) -> None:
        """
        :param ids: the ids of conversation and message, which stand in every event
        :param think: where the reasoning goes: keep, drop or separate
        :param is_cumulative: whether each event has the whole text so far, not only the new piece
        """
        self._ids = ids
        self._prefix = b'data: {"code":0,"message":"","data":' + orjson.dumps(ids)[:-1]
        self._is_plain = think == "keep" and not is_cumulative
        self._filter = None if think == "keep" else ThinkFilter()
        self._shows_thinking = think == "separate"
        self._is_cumulative = is_cumulative
        self._answer = self._thinking = ""

    def write(self, piece: str) -> bytes:
        """The event for a piece of the answer."""
        if self._is_plain:
            return b'%b,"answer":%b}}\n\n' % (self._prefix, orjson.dumps(piece))
        return self._event(*(self._filter.feed(piece) if self._filter else ("", piece)))

    def write_last(self, data: Json, beside_data: Json) -> bytes:
        """The events that end a stream: the text that was held back because it could have become a tag, everything
        that the answer has in one piece, and the end.

        :param data: the answer's `data` in one piece
        :param beside_data: the keys that stand beside `data`
        """
        thinking, content = self._filter.finish() if self._filter else ("", "")
        held_back = self._event(thinking, content) if thinking or content else b""
        return held_back + event(success_body(data, "", **beside_data)) + END_EVENT

    def write_failure(self, error: ApiError) -> bytes:
        """The last event of a stream that fails after its first byte."""
        return event({**failure_body(error), "data": self._ids})

    def _event(self, thinking: str, content: str) -> bytes:
        self._answer = self._answer + content if self._is_cumulative else content
        self._thinking = self._thinking + thinking if self._is_cumulative else thinking
        written = b'%b,"answer":%b' % (self._prefix, orjson.dumps(self._answer))
        if self._shows_thinking:
            written += b',"thinking":%b' % orjson.dumps(self._thinking)
        return written + b"}}\n\n"


def event(body: Json) -> bytes:
    """A body in the envelope as an event."""
    return b"data: %b\n\n" % orjson.dumps(body)


def example_stream(answer: Json) -> str:
    """The events of an answer, for the OpenAPI document: its text in two pieces, the last event, the end.

    :param answer: an example of the same answer in one piece
    """
    data = answer["data"]
    ids = {name: data[name] for name in ("conversation_id", "is_new_conversation", "message_id")}
    writer = EventWriter(ids, think="keep", is_cumulative=False)
    text = data["answer"]
    events = writer.write(text[:8]) + writer.write(text[8:]) + event({**answer, "message": ""}) + END_EVENT
    lines = (line.removeprefix("data: ") for line in events.decode().split("\n\n") if line)
    return "".join(f"data: {json.dumps(json.loads(line), ensure_ascii=False)}\n\n" for line in lines)
