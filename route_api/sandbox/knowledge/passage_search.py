"""Searches segments by words, with SQLite FTS5, over words and Chinese bigrams. Scores are in 0..1.

The weight of a token is its inverse document frequency. A passage's score is mainly the share of the question's weight
whose tokens the passage contains; so a score threshold has a meaning. BM25 decides between passages with the same
share.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from sqlite3 import Connection, Row

from ..text.search_tokens import contains_token, is_prefix, question_tokens, wording_tokens

MIN_CANDIDATES = 200
"""The least number of passages, the best by BM25, for which the score is computed."""
MAX_POSTINGS = 8000
"""The search leaves out the most common tokens if the rarer tokens have `MIN_CANDIDATES` postings, and these would
make it more than this number. Common tokens distinguish few passages and cost the most. They still count in the
score."""
BM25_SHARE, WORDING_SHARE = 0.1, 0.15
"""The shares of a score that BM25 and the wording decide. The wording includes stop words: "庙在" finds the passage that
answers "葫芦庙在哪里". The share of the question's weight decides the rest."""
VERBATIM_SCORE = 0.9
"""The least score of a passage that contains the whole question word by word."""

SCHEMA = """
CREATE VIRTUAL TABLE IF NOT EXISTS segment_index USING fts5(
    dataset, words, tokenize = 'unicode61 remove_diacritics 0'
);
CREATE VIRTUAL TABLE IF NOT EXISTS segment_vocabulary USING fts5vocab(segment_index, 'row');
"""


def index_segments(connection: Connection, dataset_id: str, texts: Iterable[tuple[int, str]]) -> None:
    """Add texts to the index, within the caller's transaction.

    :param texts: pairs of a segment's `seq` and its words. The caller should compute the words (`index_words`) before
        the transaction, because that takes time.
    """
    connection.executemany(
        "INSERT INTO segment_index (rowid, dataset, words) VALUES (?, ?, ?)",
        ((seq, _dataset_token(dataset_id), words) for seq, words in texts),
    )


def unindex_segments(connection: Connection, seqs: Iterable[int]) -> None:
    """Remove texts from the index, within the caller's transaction."""
    connection.executemany("DELETE FROM segment_index WHERE rowid = ?", ((seq,) for seq in seqs))


def rank_by_words(
    connection: Connection, dataset_id: str, documents: str, question: str, limit: int
) -> dict[int, float]:
    """Find the enabled segments of a dataset that share the most words with a question.

    :param documents: the ids of the documents to search, as a JSON list
    :param limit: the largest number of segments
    :returns: the score of each segment by its `seq`, the best first
    """
    tokens = question_tokens(question)
    weights = _weights(connection, tokens)
    expression = _expression(dataset_id, weights)
    if not expression:
        return {}
    rows = connection.execute(
        "SELECT segment.seq, words, bm25(segment_index, 0, 1) AS bm25 FROM segment_index"
        " JOIN segment ON segment.seq = segment_index.rowid"
        " WHERE segment_index MATCH ? AND segment.enabled"
        " AND segment.document_id IN (SELECT value FROM json_each(?))"
        " ORDER BY bm25 LIMIT ?",
        (expression, documents, max(MIN_CANDIDATES, limit)),
    ).fetchall()
    if not rows:
        return {}
    wording = wording_tokens(question)
    best_bm25 = min(row["bm25"] for row in rows)
    scored = [(_score(row, weights, best_bm25, wording), row["seq"]) for row in rows]
    scored.sort(key=lambda pair: (-pair[0], pair[1]))
    return {seq: score for score, seq in scored[:limit] if score > 0}


def _dataset_token(dataset_id: str) -> str:
    return dataset_id.replace("-", "")


@dataclass(frozen=True)
class _Weight:
    passages: int
    inverse_frequency: float


def _weights(connection: Connection, tokens: list[str]) -> dict[str, _Weight]:
    # Deleted rows leave gaps in seq, so that this is an upper bound of the number of segments. The weights differ
    # little, and count(*) would read the whole table.
    total = connection.execute("SELECT coalesce(max(seq), 0) FROM segment").fetchone()[0]
    weights = {}
    for token in tokens:
        last = token + "\U0010ffff" if is_prefix(token) else token
        passages = connection.execute(
            "SELECT coalesce(sum(doc), 0) FROM segment_vocabulary WHERE term >= ? AND term <= ?",
            (token, last),
        ).fetchone()[0]
        known = min(max(passages, 1), total)
        weights[token] = _Weight(passages, math.log(1 + (total - known + 0.5) / (known + 0.5)))
    return weights


def _expression(dataset_id: str, weights: dict[str, _Weight]) -> str:
    """Make the FTS5 query for passages with any of the rarest tokens; empty if no token is in any passage."""
    parts: list[str] = []
    postings = 0
    for token, weight in sorted(weights.items(), key=lambda item: item[1].passages):
        if weight.passages == 0:
            continue
        if postings >= MIN_CANDIDATES and postings + weight.passages > MAX_POSTINGS:
            break
        postings += weight.passages
        parts.append(f'"{token}" *' if is_prefix(token) else f'"{token}"')
    if not parts:
        return ""
    return f'dataset : "{_dataset_token(dataset_id)}" AND words : ({" OR ".join(parts)})'


def _score(row: Row, weights: dict[str, _Weight], best_bm25: float, wording: list[list[str]]) -> float:
    """Compute a passage's score, 0..1.

    :param wording: the result of `wording_tokens`
    """
    words = f" {row['words']} "
    found = set(words.split())
    total = sum(weight.inverse_frequency for weight in weights.values())
    share = sum(w.inverse_frequency for token, w in weights.items() if contains_token(found, token)) / total
    # FTS5 gives the best passage the lowest BM25, below zero. A token that more than half of all rows contain gives
    # zero.
    relative_bm25 = row["bm25"] / best_bm25 if best_bm25 < 0 else 1.0
    tokens = [token for run in wording for token in run]
    same_wording = sum(token in found for token in tokens) / len(tokens)
    rest = 1 - BM25_SHARE - WORDING_SHARE
    score = share * (rest + BM25_SHARE * relative_bm25 + WORDING_SHARE * same_wording)
    if all(f" {' '.join(run)} " in words for run in wording):
        score = VERBATIM_SCORE + (1 - VERBATIM_SCORE) * score
    return round(score, 6)
