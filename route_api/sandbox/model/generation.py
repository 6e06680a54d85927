"""A running answer: produced by a thread of its own, so that a silent model can be stopped."""

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

    :param code: Dify's code: `completion_request_error`, or `invalid_param` if the connection broke
    """

    def __init__(self, message: str, code: str = "completion_request_error") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


_running: WeakValueDictionary[str, "Generation"] = WeakValueDictionary()
"""By task id; one that is over is forgotten by itself."""


class Generation:
    """One answer while it is made.

    :param words: the model; it runs in the generation's thread, and its errors come out of `pieces`
    :param owner: who may stop it
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
        except Exception:  # whatever it is, the thread that answers the client must hear of it
            logger.exception("the model failed in a way that nobody foresaw")
            self._queue.put(ModelError("Internal Server Error", code="internal_server_error"))
        finally:
            self._queue.put(None)

    def pieces(self, silence_s: float) -> Iterator[str]:
        """The pieces of the answer as they come; "" whenever nothing came for `silence_s` seconds.

        :raises ModelError: the model failed
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
        """End it now, even if the model is silent; its thread ends with the next word."""
        self.stopped = True
        self._queue.put(None)


def stop_generation(task_id: str, owner: str) -> None:
    """Stop a running answer of this owner. Unknown or another's: nothing happens (chat/stop-other-user)."""
    generation = _running.get(task_id)
    if generation is not None and generation.owner == owner:
        generation.stop()
