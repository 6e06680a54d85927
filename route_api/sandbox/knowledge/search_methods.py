"""Searches passages by Dify's methods: by meaning (the cosine of vectors), by words, or by both. Scores are in 0..1.

Without a model that makes vectors, all methods search by words.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from sqlite3 import Connection, Row
from typing import Any

from ..embedding.embedder import current_embedder
from ..store import Store
from .passage_search import MIN_CANDIDATES, rank_by_words
from .vector_table import Question, rank_by_cosine


@dataclass(frozen=True)
class Passage:
    """A segment (all columns of its row) and its score, 0..1."""

    segment: Row
    score: float


@dataclass(frozen=True)
class Search:
    """How to search.

    :param method: one of `dataset_field_checks.SEARCH_METHODS`
    :param limit: the largest number of passages
    :param document_ids: search only these documents; None: all
    :param vector_weight: the weight of the cosine in a hybrid search, and
    :param keyword_weight: that of the words. Dify's page proposes these values
    """

    method: str
    limit: int
    document_ids: Collection[str] | None = None
    vector_weight: float = 0.7
    keyword_weight: float = 0.3


def weights_of(model: Mapping[str, Any]) -> tuple[float, float]:
    """Return the weights of the cosine and of the words that a retrieval_model names, else the defaults."""
    try:
        weights = model["weights"]
        vector = float(weights["vector_setting"]["vector_weight"])
        return vector, float(weights["keyword_setting"]["keyword_weight"])
    except (KeyError, TypeError, ValueError):
        return Search.vector_weight, Search.keyword_weight


def find_passages(store: Store, dataset_id: str, question: str, search: Search) -> list[Passage]:
    """Find the best passages of a dataset, best first, in the enabled segments of available documents.

    :raises EmbeddingError: if the model makes no vector of the question
    """
    connection = store.connection()
    documents = _searchable_documents(connection, dataset_id, search.document_ids)
    embedder = current_embedder()
    by_words = embedder is None or search.method in ("full_text_search", "keyword_search")
    scores: dict[int, float] = {}
    if by_words or search.method == "hybrid_search":
        candidates = search.limit if by_words else max(search.limit, MIN_CANDIDATES)
        scores = rank_by_words(connection, dataset_id, documents, question, candidates)
    if embedder is not None and not by_words:
        asked = Question(embedder.name, embedder.question(question))
        meaning = rank_by_cosine(connection, dataset_id, documents, asked, search.limit, scores.keys())
        scores = _both(meaning, scores, search) if search.method == "hybrid_search" else meaning
    best = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[: search.limit]
    passages = []
    for seq, score in best:
        segment = connection.execute("SELECT * FROM segment WHERE seq = ?", (seq,)).fetchone()
        if segment is not None:  # Another request may have deleted the segment since the search.
            passages.append(Passage(segment, round(score, 6)))
    return passages


def _both(meaning: dict[int, float], words: dict[int, float], search: Search) -> dict[int, float]:
    """Add the weighted scores, as Dify's weighted_score does (retrieve/hybrid-weighted)."""
    return {
        seq: search.vector_weight * meaning.get(seq, 0.0) + search.keyword_weight * words.get(seq, 0.0)
        for seq in meaning.keys() | words.keys()
    }


def _searchable_documents(connection: Connection, dataset_id: str, among: Collection[str] | None) -> str:
    """Return the ids of the available documents as a JSON list; only those `among` the given, unless it is None."""
    row = connection.execute(
        "SELECT json_group_array(id) FROM document WHERE dataset_id = ? AND enabled AND NOT archived"
        " AND indexing_status = 'completed'",
        (dataset_id,),
    ).fetchone()
    if among is None:
        return str(row[0])
    return str(
        connection.execute(
            "SELECT json_group_array(value) FROM json_each(?) WHERE value IN (SELECT value FROM json_each(?))",
            (row[0], json.dumps(list(among))),
        ).fetchone()[0]
    )
