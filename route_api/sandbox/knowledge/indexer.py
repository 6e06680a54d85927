"""The background threads that turn uploaded files into segments.

The queue is the table `document`: the unfinished documents, oldest first. So the indexing continues after a restart,
and a deleted document is no longer in the queue. Each step writes in a short transaction, so that requests wait
little. Each transaction first checks that the document was not deleted, replaced or paused in the meantime.

Files are read in processes of their own, with limits of time and memory (`preparation_process`). There are two threads,
and one of them takes small files only: two large files that are being read would keep all others waiting.

Vectors for thousands of segments can take an hour. So after `TURN_BATCHES` batches a thread goes on with the document
that has the fewest segments left: one that nobody has read yet, else the one that is done soonest.
"""

import json
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from sqlite3 import Connection, Row

from flask import current_app

from ..embedding.embedder import Embedder, EmbeddingError, Vectors
from ..store import Store
from ..text.extraction import ExtractionError
from ..text.preparation import Source, prepare
from ..text.preparation_process import PreparationProcess, is_harmless
from ..text.splitting import Chunk, SplittingError
from .document_table import segment_seqs
from .passage_search import unindex_segments
from .segment_table import complete_segments, insert_segments, is_economy, unfinished_segments
from .uploaded_files import file_path

THREADS = 2
SMALL_FILE_BYTES = 500_000
RETRY_S = 5
BATCH_SEGMENTS = 200
"""The number of segments that one transaction writes."""
TURN_BATCHES = 8
"""The number of batches of segments after which a document lets others go first."""
_UNFINISHED_SQL = "indexing_status IN ('waiting', 'parsing', 'splitting', 'indexing')"

logger = logging.getLogger(__name__)


class _Superseded(Exception):
    """The document was deleted, replaced or paused, or the indexer is stopping: give this attempt up."""


class Indexer:
    """Indexes documents in `THREADS` threads until `stop` is called."""

    def __init__(self, store: Store, embedder: Embedder | None) -> None:
        self._store = store
        self._embedder = embedder
        self._changed = threading.Condition()
        """Guards the attributes below. `wake`, `stop` and the end of a turn notify it."""
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self._in_hand: set[str] = set()
        """The ids of the documents that the threads are indexing."""
        self._processes: set[PreparationProcess] = set()

    def wake(self) -> None:
        """Make the threads look for documents. The first call starts the threads."""
        with self._changed:
            if not self._threads and not self._stopping:
                self._begin_again()
                for number in range(THREADS):
                    name = f"sandbox-indexer-{number}"
                    largest = SMALL_FILE_BYTES if number else None
                    self._threads.append(threading.Thread(target=self._run, args=(largest,), name=name, daemon=True))
                    self._threads[-1].start()
            self._changed.notify_all()

    def _begin_again(self) -> None:
        """Let the documents that an earlier process did not finish be read again."""
        self._store.connection().execute(
            "UPDATE document SET indexing_status = 'waiting' WHERE indexing_status = 'indexing'"
        )

    def stop(self) -> None:
        """End the threads after their current transactions. The remaining documents wait for the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            for process in self._processes:
                process.kill()
        for thread in self._threads:
            thread.join()

    def _run(self, largest: int | None) -> None:
        """Index documents until `stop` is called.

        :param largest: the size of the largest file to take, in bytes; None: any
        """
        while not self._stopping:
            try:
                document = self._take(largest)
                if document is not None:
                    self._index(document)
            except Exception:  # The database is locked or full: the document is still in the queue.
                logger.exception("the indexer tries again in %d s", RETRY_S)
                with self._changed:
                    self._changed.wait(RETRY_S)

    def _take(self, largest: int | None) -> Row | None:
        """Wait for a document, and take it in hand.

        :returns: the document; None, if the indexer is stopping
        """
        with self._changed:
            while not self._stopping:
                document = self._next(largest)
                if document is not None:
                    self._in_hand.add(document["id"])
                    return document
                self._changed.wait()
        return None

    def _next(self, largest: int | None) -> Row | None:
        in_hand = ", ".join("?" * len(self._in_hand))
        large = "" if largest is None else "AND file_id NOT IN (SELECT id FROM upload_file WHERE size > ?)"
        sql = (
            f"SELECT * FROM document WHERE {_UNFINISHED_SQL} AND id NOT IN ({in_hand}) {large} ORDER BY"
            " (SELECT count(*) FROM segment WHERE document_id = document.id AND status = 'indexing'), queued_at LIMIT 1"
        )
        values = (*self._in_hand, *(() if largest is None else (largest,)))
        return self._store.connection().execute(sql, values).fetchone()

    def _index(self, document: Row) -> None:
        try:
            self._index_steps(document)
        except _Superseded:
            logger.info("document %s was deleted, replaced or paused while it was being indexed", document["id"])
        except (ExtractionError, SplittingError, EmbeddingError) as error:
            self._fail(document, str(error))
        except FileNotFoundError:
            self._fail(document, "The uploaded file is gone.")
        except Exception:
            logger.exception("document %s cannot be indexed", document["id"])
            self._fail(document, "The document could not be indexed because of an internal error.")
        finally:
            with self._changed:
                self._in_hand.discard(document["id"])
                self._changed.notify_all()

    def _index_steps(self, document: Row) -> None:
        """Read the document, if this was not done in an earlier turn, and complete some of its segments."""
        if document["indexing_status"] != "indexing":
            self._read(document)
        embedder = None if is_economy(self._store.connection(), document) else self._embedder
        for _ in range(TURN_BATCHES):
            if not self._complete_batch(document, embedder):
                self._finish(document)
                return

    def _read(self, document: Row) -> None:
        """Write the document's segments. No search finds them yet."""
        self._delete_segments(document)
        self._step(document, "parsing", "processing_started_at")
        extension = (
            self._store.connection()
            .execute("SELECT extension FROM upload_file WHERE id = ?", (document["file_id"],))
            .fetchone()
        )
        if extension is None:
            raise _Superseded
        chunks = self._prepare(document, extension["extension"])
        self._step(document, "splitting", "parsing_completed_at")
        self._write_segments(document, chunks)
        self._step(document, "indexing", "cleaning_completed_at", "splitting_completed_at")

    def _prepare(self, document: Row, extension: str) -> list[tuple[Chunk, str]]:
        """Read and split the document's file. Return each chunk with its `index_words`.

        :raises ExtractionError: if this fails, or takes more time or memory than it may
        :raises SplittingError: if the process rule cannot be carried out
        :raises FileNotFoundError: if the file is gone
        """
        path = file_path(self._store, document["file_id"])
        source = Source(
            path=str(path.absolute()),
            extension=extension,
            doc_form=document["doc_form"],
            mode=document["process_mode"],
            rules=json.loads(document["process_rules"]),
            with_keywords=is_economy(self._store.connection(), document),
        )
        if is_harmless(path, extension):
            return list(prepare(source))
        with self._changed:
            if self._stopping:
                raise _Superseded
            process = PreparationProcess(source)
            self._processes.add(process)
        try:
            return list(process.chunks())
        except ExtractionError:
            if self._stopping:  # `stop` has killed the process. The document is indexed at the next start.
                raise _Superseded from None
            raise
        finally:
            with self._changed:
                self._processes.discard(process)

    def _delete_segments(self, document: Row) -> None:
        """Delete the segments of an interrupted attempt."""
        seqs = segment_seqs(self._store.connection(), document["id"])
        for start in range(0, len(seqs), BATCH_SEGMENTS):
            batch = seqs[start : start + BATCH_SEGMENTS]
            with self._store.transaction() as connection:
                unindex_segments(connection, batch)
                connection.executemany("DELETE FROM segment WHERE seq = ?", ((seq,) for seq in batch))

    def _step(self, document: Row, status: str, *finished: str) -> None:
        """Set the document's status.

        :param finished: the columns of the steps that have ended now
        """
        clear = ""
        if status == "parsing":
            clear = (
                ", parsing_completed_at = NULL, cleaning_completed_at = NULL, splitting_completed_at = NULL,"
                " completed_at = NULL, paused_at = NULL, stopped_at = NULL, error = NULL, tokens = NULL,"
                " word_count = NULL, indexing_latency = NULL"
            )
        with self._store.transaction() as connection:
            self._require_current(connection, document)
            times = "".join(f", {column} = :now" for column in finished)
            connection.execute(
                f"UPDATE document SET indexing_status = :status{times}{clear} WHERE id = :id",
                {"status": status, "now": time.time(), "id": document["id"]},
            )

    def _require_current(self, connection: Connection, document: Row) -> None:
        """Check that the document is still in the queue with the same upload, and that the indexer is not stopping.

        :raises _Superseded: if not
        """
        row = connection.execute(
            f"SELECT 1 FROM document WHERE id = ? AND batch = ? AND {_UNFINISHED_SQL}",
            (document["id"], document["batch"]),
        ).fetchone()
        if row is None or self._stopping:
            raise _Superseded

    def _write_segments(self, document: Row, chunks: Sequence[tuple[Chunk, str]]) -> None:
        for start in range(0, len(chunks), BATCH_SEGMENTS):
            with self._store.transaction() as connection:
                self._require_current(connection, document)
                insert_segments(connection, document, chunks[start : start + BATCH_SEGMENTS], start + 1)
        words = sum(len(chunk.content) + len(chunk.answer or "") for chunk, _ in chunks)
        with self._store.transaction() as connection:
            self._require_current(connection, document)
            connection.execute(
                "UPDATE document SET word_count = ?, error = ? WHERE id = ?",
                (words, _warning(chunk for chunk, _ in chunks), document["id"]),
            )

    def _complete_batch(self, document: Row, embedder: Embedder | None) -> bool:
        """Let a search find the next segments of the document, with their vectors.

        :returns: whether there were any left
        :raises EmbeddingError: if the model makes no vectors
        """
        size = BATCH_SEGMENTS if embedder is None else embedder.batch_size
        segments = unfinished_segments(self._store.connection(), document["id"], size)
        if not segments:
            return False
        vectors = None
        if embedder is not None:
            vectors = Vectors(embedder.name, embedder.passages([text for _, text in segments]))
        with self._store.transaction() as connection:
            self._require_current(connection, document)
            complete_segments(connection, document["dataset_id"], [seq for seq, _ in segments], vectors)
        return True

    def _finish(self, document: Row) -> None:
        with self._store.transaction() as connection:
            self._require_current(connection, document)
            connection.execute(
                "UPDATE document SET indexing_status = 'completed', completed_at = :now, updated_at = :now,"
                " indexing_latency = :now - processing_started_at,"
                " tokens = (SELECT coalesce(sum(tokens), 0) FROM segment WHERE document_id = :id)"
                " WHERE id = :id",
                {"now": time.time(), "id": document["id"]},
            )

    def _fail(self, document: Row, reason: str) -> None:
        self._store.connection().execute(
            "UPDATE document SET indexing_status = 'error', error = ?, stopped_at = ?"
            f" WHERE id = ? AND batch = ? AND {_UNFINISHED_SQL}",
            (reason, time.time(), document["id"], document["batch"]),
        )


def _warning(chunks: Iterable[Chunk]) -> str | None:
    """Return what the owner of a completed document should know of its text. Dify says nothing then."""
    unread = sum(chunk.text.count("\ufffd") for chunk in chunks)
    if not unread:
        return None
    return (
        f"Some bytes of the file could not be read; its text has \ufffd in their place ({unread} times). The file was"
        " cut, is damaged or has several encodings."
    )


def current_indexer() -> Indexer:
    """Return the indexer of the current application."""
    return current_app.extensions["sandbox_indexer"]
