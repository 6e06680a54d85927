"""Makes the vectors that segments lack: after an update of the sandbox, a change of the model, or a change of a dataset
from economy to high_quality.

The thread also gives each dataset the name of the model, because the sandbox has one model, and a dataset with a model
that the sandbox does not have could not be changed any more.
"""

import logging
import threading

from ..embedding.embedder import Embedder, EmbeddingError, Vectors
from ..store import Store
from .vector_table import segments_without_vector, store_vectors

RETRY_S = 60
"""Seconds between two tries, if the model fails."""

logger = logging.getLogger(__name__)


class VectorUpdate:
    """A background thread that runs from `start` to `stop`, and looks for segments whenever `start` is called."""

    def __init__(self, store: Store, embedder: Embedder | None, model_name: str, provider: str) -> None:
        self._store = store
        self._embedder = embedder
        self._model = {"model": model_name, "provider": provider}
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look for segments without vectors, now, in the background."""
        self._wanted.set()
        if self._thread is None and not self._stopping.is_set():
            self._thread = threading.Thread(target=self._run, name="sandbox-vectors", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread after its current batch. The next start goes on."""
        self._stopping.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while self._wanted.wait() and not self._stopping.is_set():
            self._wanted.clear()
            try:
                self._name_the_model()
                self._make_vectors()
            except EmbeddingError as error:
                logger.warning("some segments have no vectors yet: %s Next try in %d s.", error, RETRY_S)
                self._try_again()
            except Exception:  # The database is locked or full.
                logger.exception("some segments have no vectors yet; next try in %d s", RETRY_S)
                self._try_again()

    def _try_again(self) -> None:
        self._stopping.wait(RETRY_S)
        self._wanted.set()

    def _name_the_model(self) -> None:
        self._store.connection().execute(
            "UPDATE dataset SET embedding_model = :model, embedding_model_provider = :provider"
            " WHERE indexing_technique = 'high_quality' AND embedding_model <> :model",
            self._model,
        )

    def _make_vectors(self) -> None:
        embedder = self._embedder
        while embedder is not None and not self._stopping.is_set():
            found = segments_without_vector(self._store.connection(), embedder.name, embedder.batch_size)
            if not found:
                return
            vectors = Vectors(embedder.name, embedder.passages([text for _, text in found]))
            with self._store.transaction() as connection:
                store_vectors(connection, [seq for seq, _ in found], vectors)
