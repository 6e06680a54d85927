"""The vectors of segments, and their cosines with a question. A search reads them from the database in parts, so that
its memory does not grow with their number."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from sqlite3 import Connection
from typing import TYPE_CHECKING

from ..embedding.embedder import Vectors
from ..text.splitting import Chunk

if TYPE_CHECKING:
    import numpy as np

PART = 2000
"""The number of vectors that a search holds in memory."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS segment_vector (
    seq INTEGER PRIMARY KEY REFERENCES segment (seq) ON DELETE CASCADE,
    model TEXT NOT NULL,
    vector BLOB NOT NULL
);
"""


_WITHOUT_VECTOR = (
    "SELECT segment.seq, content, answer FROM segment JOIN dataset ON dataset.id = segment.dataset_id"
    " LEFT JOIN segment_vector ON segment_vector.seq = segment.seq AND segment_vector.model = :model"
    " WHERE segment.status = 'completed' AND segment_vector.seq IS NULL"
    " AND dataset.indexing_technique = 'high_quality' ORDER BY segment.seq LIMIT :limit"
)


def store_vectors(connection: Connection, seqs: Iterable[int], vectors: Vectors) -> None:
    """Store the vectors of segments, within the caller's transaction. A vector replaces that of another model.

    A segment that another request has deleted in the meantime gets no vector. One that has a vector of this model keeps
    it: its text was changed after the vectors were made.
    """
    connection.executemany(
        "INSERT OR REPLACE INTO segment_vector (seq, model, vector) SELECT seq, :model, :vector FROM segment"
        " WHERE seq = :seq AND seq NOT IN (SELECT seq FROM segment_vector WHERE seq = :seq AND model = :model)",
        (
            {"seq": seq, "model": vectors.model, "vector": row.astype("<f4").tobytes()}
            for seq, row in zip(seqs, vectors.rows, strict=True)
        ),
    )


def segments_without_vector(connection: Connection, model: str, limit: int) -> list[tuple[int, str]]:
    """Return the `seq` and the text of segments of high_quality datasets that have no vector of this model."""
    rows = connection.execute(_WITHOUT_VECTOR, {"model": model, "limit": limit})
    return [(row["seq"], Chunk(row["content"], row["answer"]).text) for row in rows]


@dataclass(frozen=True)
class Question:
    """The vector of a question, and the model that made it."""

    model: str
    vector: "np.ndarray"


def rank_by_cosine(
    connection: Connection, dataset_id: str, documents: str, question: Question, limit: int, others: Collection[int]
) -> dict[int, float]:
    """Return the cosines of the enabled segments that are closest to a question; below zero becomes zero.

    :param documents: the ids of the documents to search, as a JSON list
    :param limit: the number of segments; there may be more in the answer
    :param others: the `seq` of segments whose cosines are wanted in any case
    :returns: the cosine by the segment's `seq`
    """
    import numpy as np

    found: dict[int, float] = {}
    rows = connection.execute(
        "SELECT segment.seq, vector FROM segment JOIN segment_vector ON segment_vector.seq = segment.seq"
        " WHERE dataset_id = ? AND enabled AND model = ? AND length(vector) = ?"
        " AND document_id IN (SELECT value FROM json_each(?))",
        (dataset_id, question.model, 4 * len(question.vector), documents),
    )
    while part := rows.fetchmany(PART):
        matrix = np.frombuffer(b"".join(row["vector"] for row in part), dtype="<f4").reshape(len(part), -1)
        scores = np.maximum(matrix @ question.vector, 0.0)
        best = set(np.argsort(-scores, kind="stable")[:limit].tolist())
        wanted = best.union(place for place, row in enumerate(part) if row["seq"] in others)
        found.update((part[place]["seq"], float(scores[place])) for place in wanted)
    return found
