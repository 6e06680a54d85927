"""The background threads that turn uploaded files into segments.

The queue is the table `document`: the unfinished documents, oldest first. So the indexing continues after a restart,
and a deleted document is no longer in the queue. Each step writes in a short transaction, so that requests wait
little. Each transaction first checks that the document was not deleted, replaced or paused in the meantime.

Files are read in processes of their own, with limits of time and memory (`preparation_process`). There are two threads,
so that a file that takes its whole time leaves the other thread to the other documents.
"""

import json
import logging
import threading
import time
from collections.abc import Sequence
from sqlite3 import Connection, Row

from flask import current_app

from ..store import Store
from ..text.extraction import ExtractionError
from ..text.preparation import Source, prepare
from ..text.preparation_process import PreparationProcess, is_harmless
from ..text.splitting import Chunk, SplittingError
from .document_table import segment_seqs
from .passage_search import unindex_segments
from .segment_table import complete_segments, insert_segments
from .uploaded_files import file_path

THREADS = 2
RETRY_S = 5
BATCH_SEGMENTS = 200
"""The number of segments that one transaction writes."""
_UNFINISHED_SQL = "indexing_status IN ('waiting', 'parsing', 'splitting', 'indexing')"

logger = logging.getLogger(__name__)


class _Superseded(Exception):
    """The document was deleted, replaced or paused, or the indexer is stopping: give this attempt up."""


class Indexer:
    """Indexes documents in `THREADS` threads until `stop` is called."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = threading.Condition()
        """Guards the attributes below. `wake` and `stop` notify it."""
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self._in_hand: set[str] = set()
        """The ids of the documents that the threads are indexing."""
        self._processes: set[PreparationProcess] = set()

    def wake(self) -> None:
        """Make the threads look for documents. The first call starts the threads."""
        with self._changed:
            if not self._threads and not self._stopping:
                for number in range(THREADS):
                    name = f"sandbox-indexer-{number}"
                    self._threads.append(threading.Thread(target=self._run, name=name, daemon=True))
                    self._threads[-1].start()
            self._changed.notify_all()

    def stop(self) -> None:
        """End the threads after their current transactions. The remaining documents wait for the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            for process in self._processes:
                process.kill()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stopping:
            try:
                document = self._take()
                if document is not None:
                    self._index(document)
            except Exception:  # The database is locked or full: the document is still in the queue.
                logger.exception("the indexer tries again in %d s", RETRY_S)
                with self._changed:
                    self._changed.wait(RETRY_S)

    def _take(self) -> Row | None:
        """Wait for a document, and take it in hand.

        :returns: the document; None, if the indexer is stopping
        """
        with self._changed:
            while not self._stopping:
                document = self._next()
                if document is not None:
                    self._in_hand.add(document["id"])
                    return document
                self._changed.wait()
        return None

    def _next(self) -> Row | None:
        in_hand = ", ".join("?" * len(self._in_hand))
        sql = f"SELECT * FROM document WHERE {_UNFINISHED_SQL} AND id NOT IN ({in_hand}) ORDER BY queued_at LIMIT 1"
        return self._store.connection().execute(sql, tuple(self._in_hand)).fetchone()

    def _index(self, document: Row) -> None:
        try:
            self._index_steps(document)
        except _Superseded:
            logger.info("document %s was deleted, replaced or paused while it was being indexed", document["id"])
        except (ExtractionError, SplittingError) as error:
            self._fail(document, str(error))
        except FileNotFoundError:
            self._fail(document, "The uploaded file is gone.")
        except Exception:
            logger.exception("document %s cannot be indexed", document["id"])
            self._fail(document, "The document could not be indexed because of an internal error.")
        finally:
            with self._changed:
                self._in_hand.discard(document["id"])

    def _index_steps(self, document: Row) -> None:
        began = time.monotonic()
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
        seqs = self._write_segments(document, [chunk for chunk, _ in chunks])
        self._step(document, "indexing", "cleaning_completed_at", "splitting_completed_at")
        self._complete_segments(document, [words for _, words in chunks], seqs)
        self._finish(document, time.monotonic() - began)

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
            with_keywords=self._is_economy(document),
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

    def _write_segments(self, document: Row, chunks: Sequence[Chunk]) -> list[int]:
        seqs: list[int] = []
        for start in range(0, len(chunks), BATCH_SEGMENTS):
            with self._store.transaction() as connection:
                self._require_current(connection, document)
                batch = chunks[start : start + BATCH_SEGMENTS]
                seqs.extend(insert_segments(connection, document, batch, start + 1))
        words = sum(len(chunk.content) + len(chunk.answer or "") for chunk in chunks)
        with self._store.transaction() as connection:
            self._require_current(connection, document)
            connection.execute("UPDATE document SET word_count = ? WHERE id = ?", (words, document["id"]))
        return seqs

    def _is_economy(self, document: Row) -> bool:
        sql = "SELECT 1 FROM dataset WHERE id = ? AND indexing_technique = 'economy'"
        return self._store.connection().execute(sql, (document["dataset_id"],)).fetchone() is not None

    def _complete_segments(self, document: Row, words: Sequence[str], seqs: Sequence[int]) -> None:
        for start in range(0, len(seqs), BATCH_SEGMENTS):
            part = slice(start, start + BATCH_SEGMENTS)
            with self._store.transaction() as connection:
                self._require_current(connection, document)
                complete_segments(connection, document["dataset_id"], list(zip(seqs[part], words[part], strict=True)))

    def _finish(self, document: Row, seconds: float) -> None:
        with self._store.transaction() as connection:
            self._require_current(connection, document)
            connection.execute(
                "UPDATE document SET indexing_status = 'completed', completed_at = :now, updated_at = :now,"
                " indexing_latency = :seconds,"
                " tokens = (SELECT coalesce(sum(tokens), 0) FROM segment WHERE document_id = :id)"
                " WHERE id = :id",
                {"now": time.time(), "seconds": seconds, "id": document["id"]},
            )

    def _fail(self, document: Row, reason: str) -> None:
        self._store.connection().execute(
            "UPDATE document SET indexing_status = 'error', error = ?, stopped_at = ?"
            f" WHERE id = ? AND batch = ? AND {_UNFINISHED_SQL}",
            (reason, time.time(), document["id"], document["batch"]),
        )


def current_indexer() -> Indexer:
    """Return the indexer of the current application."""
    return current_app.extensions["sandbox_indexer"]
