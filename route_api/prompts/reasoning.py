"""Writes the reasoning that Dify sends beside an answer into the answer, between `<think>` and `</think>`.

A chatflow of Dify 1.16.1 whose LLM node separates the reasoning sends it in events of its own, before and between the
pieces of the answer (tests/contract, chat/advanced-chat-separated-streaming). Other models write it into the answer. So
all other code finds reasoning in one place, and `thinking.py` alone separates it.
"""

from collections.abc import Mapping

from .thinking import takes_block


class ReasoningWriter:
    """Joins the reasoning and the pieces of one answer to one text. Each method returns what the text goes on with.

    Reasoning is written as it comes if the text stands at its start or between two sentences. Else it is held until the
    text gets there, because a node may think while another one answers, and a block in the middle of a sentence or in
    code would spoil the answer.
    """

    def __init__(self) -> None:
        self._nodes: list[str] = []
        """The nodes whose reasoning has come, the last one last."""
        self._held = ""
        self._space = ""
        """The white space at the end of the open block. It is written only before further reasoning."""
        self._closing = ""
        """What ends the open block; empty if none is open."""

    def think(self, reasoning: str, node: str, text: str) -> str:
        """Take a piece of the reasoning of a node.

        :param text: the whole text so far
        """
        if self._nodes[-1:] != [node]:
            self._nodes.append(node)
            if self._closing or self._held:
                self._held, self._space = self._held.rstrip() + "\n\n", ""
                reasoning = reasoning.lstrip()
        self._held += reasoning
        return self._write_held(text) if self._held.strip() and (self._closing or takes_block(text)) else ""

    def answer(self, piece: str, text: str) -> str:
        """Take a piece of the answer. The parameter `text` is that of :meth:`think`."""
        if not piece or not (self._closing or self._held):
            return piece
        reasoning = self._write_held(text) if self._held.strip() and (self._closing or takes_block(text)) else ""
        return reasoning + self._close() + piece

    def end(self, reasoning: Mapping[str, str], text: str) -> str:
        """End the answer. The parameter `text` is that of :meth:`think`.

        :param reasoning: the whole reasoning of each node. It is written if no piece of it has come
        """
        missing = [whole.strip() for node, whole in reasoning.items() if node not in self._nodes]
        self._held = "\n\n".join(filter(str.strip, [self._held, *missing]))
        return (self._write_held(text) if self._held else "") + self._close().rstrip()

    def _write_held(self, text: str) -> str:
        """Write what is held, into the open block or into a new one."""
        opening, reasoning = "", self._space + self._held
        if not self._closing:
            opening, reasoning = "<think>\n", reasoning.lstrip()
            self._closing = "\n</think>" if text.strip() else "\n</think>\n\n"
        written = reasoning.rstrip()
        self._held, self._space = "", reasoning[len(written) :]
        return opening + written

    def _close(self) -> str:
        closing, self._closing, self._space = self._closing, "", ""
        return closing
