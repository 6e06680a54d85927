"""Writes the server-sent events of a streamed answer. No other module knows their form."""

import json
from collections.abc import Iterable
from typing import Any

from ..envelope import failure_body, json_bytes, success_body
from ..errors import ApiError
from ..prompts.thinking import TagKeeper, ThinkSplitter

Json = dict[str, Any]

CONTENT_TYPE = "text/event-stream; charset=utf-8"

END_EVENT = b'data: {"code":0,"message":"","data":true}\n\n'
"""The end of every successful stream. RAGFlow's clients expect it."""

KEEP_ALIVE = b": ping\n\n"
"""A comment, which clients ignore. It keeps proxies from closing an idle connection."""


def event_writer(ids: Json, *, think: str, stream_mode: str, references: Iterable[Json]) -> "EventWriter":
    """The writer for a `stream_mode`.

    :param references: the passages that the model is given, as in `rag_info.references`
    """
    if stream_mode == "events":
        return NamedEventWriter(ids, think=think, references=references)
    return EventWriter(ids, think=think, is_cumulative=stream_mode == "cumulative")


class EventWriter:
    """Writes the events of one answer, for the stream modes `delta` and `cumulative`."""

    def __init__(self, ids: Json, *, think: str, is_cumulative: bool) -> None:
        """
        :param ids: the ids of conversation and message, which are in every event
        :param think: `keep` the reasoning in the answer, `drop` it, or `separate` it into the field `thinking`
        :param is_cumulative: whether each event has the whole text so far, not only the new piece
        """
        self._ids = ids
        self._prefix = b'data: {"code":0,"message":"","data":' + json_bytes(ids)[:-1]
        self._is_plain = think == "keep" and not is_cumulative
        self._splitter: ThinkSplitter | TagKeeper | None = None if think == "keep" else ThinkSplitter()
        self._shows_thinking = think == "separate"
        self._is_cumulative = is_cumulative
        self._answer = self._thinking = ""

    def write(self, piece: str) -> bytes:
        """The event for a piece of the answer."""
        if self._is_plain:
            return b'%b,"answer":%b}}\n\n' % (self._prefix, json_bytes(piece))
        return self._event(*self._split(piece))

    def replace(self, text: str) -> bytes:
        """The event for a text that replaces the answer so far.

        Pieces that were sent cannot be taken back. So without `is_cumulative` the event adds nothing to them, and has
        the new text in `replacement`.
        """
        self._splitter = ThinkSplitter() if self._splitter else None
        self._answer = self._thinking = ""
        thinking, content = self._split(text)
        if self._is_cumulative:
            return self._event(thinking, content)
        replacement = {"answer": content, **({"thinking": thinking} if self._shows_thinking else {})}
        return self._event("", "", b',"replacement":%b' % json_bytes(replacement))

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

    def _event(self, thinking: str, content: str, more: bytes = b"") -> bytes:
        self._answer = self._answer + content if self._is_cumulative else content
        self._thinking = self._thinking + thinking if self._is_cumulative else thinking
        written = b'%b,"answer":%b' % (self._prefix, json_bytes(self._answer))
        if self._shows_thinking:
            written += b',"thinking":%b' % json_bytes(self._thinking)
        return written + more + b"}}\n\n"


class NamedEventWriter(EventWriter):
    """Writes the events of one answer for the stream mode `events`. Each event has a name:

    - `sources` is the first event, with the ids and the passages that the model is given
    - `thinking` and `delta` have the next piece of the reasoning and of the answer, which is never empty
    - `replacement` has the texts that replace all pieces so far
    - `end` or `error` is the last event, in the envelope, with the ids
    """

    def __init__(self, ids: Json, *, think: str, references: Iterable[Json]) -> None:
        super().__init__(ids, think=think, is_cumulative=False)
        self._is_plain = False
        self._splitter = TagKeeper() if think == "keep" else ThinkSplitter()
        self._unsent_sources = named_event("sources", {**ids, "references": list(references)})

    def replace(self, text: str) -> bytes:
        """The event `replacement`."""
        begun = self._event("", "")
        self._splitter = type(self._splitter)() if self._splitter else None
        thinking, content = self._split(text)
        shown = {"answer": content, **({"thinking": thinking} if self._shows_thinking else {})}
        return begun + named_event("replacement", shown)

    def write_last(self, data: Json, beside_data: Json) -> bytes:
        """The text that was held back, and the event `end` with the complete answer."""
        return self._held_back() + named_event("end", success_body(data, "", **beside_data))

    def write_failure(self, error: ApiError) -> bytes:
        """The text that was held back, and the event `error`. It has the seconds of a Retry-After, because the headers
        have been sent already."""
        hint = {} if error.retry_after is None else {"retry_after": error.retry_after}
        return self._held_back() + named_event("error", {**failure_body(error), "data": self._ids, **hint})

    def _held_back(self) -> bytes:
        return self._event(*self._splitter.finish()) if self._splitter else b""

    def _event(self, thinking: str, content: str, more: bytes = b"") -> bytes:
        """The events for these texts, after `sources` if it was not sent yet; none for an empty text."""
        written, self._unsent_sources = self._unsent_sources, b""
        if thinking and self._shows_thinking:
            written += named_event("thinking", {"thinking": thinking})
        if content:
            written += named_event("delta", {"answer": content})
        return written + more


def event(body: Json) -> bytes:
    """The event for a body that is already in the envelope."""
    return b"data: %b\n\n" % json_bytes(body)


def named_event(name: str, data: Json) -> bytes:
    """An event with a name, by which browsers and their libraries tell events apart."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json_bytes(data))


def repeated_stream(ids: Json, text: str, data: Json, beside_data: Json, think: str, stream_mode: str) -> str:
    """The stream for a repeated request: the text in one event, the complete answer, the end event.

    :param text: what the model said, with its reasoning
    :param data: the `data` of the complete answer. The other parameters are those of :func:`event_writer`
    """
    if stream_mode == "events":
        references = beside_data.get("rag_info", {}).get("references", [])
        writer = NamedEventWriter(ids, think=think, references=references)
        return (writer.write(text) + writer.write_last(data, beside_data)).decode()
    piece = {**ids, "answer": data["answer"], **({"thinking": data["thinking"]} if think == "separate" else {})}
    whole = event({"code": 0, "message": "", "data": piece})
    return (whole + event(success_body(data, "", **beside_data)) + END_EVENT).decode()


BUSY = {
    "code": -1,
    "elapsed_s": 0.0123,
    "error": "dify_too_busy",
    "message": "Dify is getting too many requests; please try again later.",
    "request_id": "9f6c4d2be0a84f0ab1f2f2a1c6a0e6d4",
    "retry_after": 5,
}
"""The example of a failure, which is the last event in place of `end`."""


def example_events(answer: Json) -> dict[str, Json]:
    """Examples of events, for the OpenAPI document: those of a stream in the mode `delta` (`data_1` to `data_4`), and,
    by their names, those of a stream in the mode `events`.

    :param answer: the example of the same answer in one piece
    """
    data = {**answer["data"]}
    ids = {name: data[name] for name in ("conversation_id", "is_new_conversation", "message_id")}
    text = data["answer"]
    plain = EventWriter(ids, think="keep", is_cumulative=False)
    events = plain.write(text[:8]) + plain.write(text[8:]) + event({**answer, "message": ""}) + END_EVENT
    references = answer.get("rag_info", {}).get("references", [])
    named = NamedEventWriter(ids, think="separate", references=references)
    events += named.write(text) + named.replace("（略）")
    events += named_event("end", {**answer, "data": {**data, "answer": data["content"]}, "message": ""})
    events += named_event("error", {**BUSY, "data": ids})
    examples: dict[str, Json] = {}
    for number, block in enumerate(events.decode().split("\n\n")[:-1], 1):
        head, _, body = block.partition("data: ")
        name = head.removeprefix("event: ").strip() or f"data_{number}"
        examples[name] = {"value": json.loads(body)}
    return examples
