"""A running answer. A thread of its own runs the model, so that an answer can be stopped while the model is silent."""

import logging
import threading
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing
from queue import Empty, SimpleQueue
from weakref import WeakValueDictionary

logger = logging.getLogger(__name__)


class ModelError(Exception):
    """The model failed.

    :param code: Dify's error code: `completion_request_error`, or `invalid_param` if the connection broke
    """

    def __init__(self, message: str, code: str = "completion_request_error") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


_running: WeakValueDictionary[str, "Generation"] = WeakValueDictionary()
"""The running answers by task id. The references are weak, so that a finished answer disappears."""


class Generation:
    """An answer that is being generated.

    :param words: the model's stream; the thread reads it, and `pieces` raises its errors
    :param owner: the identity that may stop the answer
    """

    def __init__(self, words: Generator[str, None, None], owner: str) -> None:
        self.task_id = str(uuid.uuid4())
        self.owner = owner
        self.stopped = False
        self._words = words
        self._queue: SimpleQueue[str | ModelError | None] = SimpleQueue()
        _running[self.task_id] = self
        threading.Thread(target=self._produce, name=f"generation-{self.task_id}", daemon=True).start()

    def _produce(self) -> None:
        try:
            with closing(self._words) as words:
                for word in words:
                    if self.stopped:
                        break
                    self._queue.put(word)
        except ModelError as error:
            self._queue.put(error)
        except Exception:  # Otherwise the thread that answers the client would wait for ever.
            logger.exception("the model failed with an unexpected error")
            self._queue.put(ModelError("Internal Server Error", code="internal_server_error"))
        finally:
            self._queue.put(None)

    def pieces(self, silence_s: float) -> Iterator[str]:
        """Yield the pieces of the answer, and "" after each `silence_s` seconds without a piece.

        :raises ModelError: if the model failed
        """
        while not self.stopped:
            try:
                piece = self._queue.get(timeout=silence_s)
            except Empty:
                yield ""
                continue
            if piece is None or self.stopped:
                return
            if isinstance(piece, ModelError):
                raise piece
            if piece:
                yield piece

    def stop(self) -> None:
        """End the answer now, also while the model is silent. The thread ends at the model's next word."""
        self.stopped = True
        self._queue.put(None)


def stop_generation(task_id: str, owner: str) -> None:
    """Stop a running answer of this owner. An unknown task, or another owner's, is ignored (chat/stop-other-user)."""
    generation = _running.get(task_id)
    if generation is not None and generation.owner == owner:
        generation.stop()
