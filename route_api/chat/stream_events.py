"""The events of a streamed answer, as our callers get them."""

from typing import Any

import orjson

from ..prompts.thinking import ThinkFilter

LAST_LINE = b'data: {"code":0,"message":"","data":true}\n\n'
"""The end of a stream that went well, as RAGFlow's clients expect it."""

KEEP_ALIVE = b": ping\n\n"
"""A comment, which no client shows, and which keeps proxies from closing a silent connection."""


class Shaper:
    """How a piece of the answer becomes an event: the piece or the whole text so far, with the reasoning or without."""

    def __init__(self, ids: dict[str, Any], *, think: str, cumulative: bool) -> None:
        """
        :param ids: what each event has besides
        :param think: keep, drop or separate
        :param cumulative: whether each event has the whole text so far
        """
        self._before = b'data: {"code":0,"message":"","data":' + orjson.dumps(ids)[:-1]
        self._plain = think == "keep" and not cumulative
        self._filter = None if think == "keep" else ThinkFilter()
        self._shows_thinking = think == "separate"
        self._cumulative = cumulative
        self._answer = self._thinking = ""

    def shape(self, piece: str) -> bytes:
        """The event for a piece."""
        if self._plain:
            return b'%b,"answer":%b}}\n\n' % (self._before, orjson.dumps(piece))
        return self._event(*(self._filter.feed(piece) if self._filter else ("", piece)))

    def rest(self) -> bytes:
        """The event for what was held back because it could have become a tag; nothing if nothing was."""
        thought, said = self._filter.finish() if self._filter else ("", "")
        return self._event(thought, said) if thought or said else b""

    def _event(self, thought: str, said: str) -> bytes:
        self._answer = self._answer + said if self._cumulative else said
        self._thinking = self._thinking + thought if self._cumulative else thought
        event = b'%b,"answer":%b' % (self._before, orjson.dumps(self._answer))
        if self._shows_thinking:
            event += b',"thinking":%b' % orjson.dumps(self._thinking)
        return event + b"}}\n\n"
