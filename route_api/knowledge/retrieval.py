"""Finding passages: what Dify's retrieve lacks is made up for here. Used by `views/chunk.py` and by chat."""

import re
from collections.abc import Iterable
from itertools import chain
from typing import Any

from ..dify import NO_INDEX
from ..dify.records import embedding_model, score
from ..errors import DifyFailed, DifyRejected
from ..extensions import dify
from .not_found import document_must_exist, kb_must_exist
from .retrieval_settings import method_for, retrieval_model

Json = dict[str, Any]

QUERY_LENGTH = 250
"""Characters of a query that Dify takes (retrieve/query-251)."""

MOST_PARTS = 4
"""A question longer than this many queries is searched for by its beginning and its end."""

WIDER = 10
"""How much further to look when namesakes of the wanted documents took the places of their passages."""

SENTENCE_END = re.compile(r"(?<=[。！？；.!?;\n])")


def find_passages(
    kb_id: str, question: str, settings: Json | None = None, doc_ids: list[str] | None = None
) -> list[Json]:
    """Dify's records for a question of any length, best first.

    One upstream call for a question of up to 250 characters; one for each further 250; with `doc_ids` one more for
    each document, since Dify filters by name (FINDINGS e); one more for a hybrid search, whose weights must name the
    kb's embedding model; one more where the search is refused, to tell an empty kb from a fault.

    :param settings: parameters of a search by our names, as in `retrieval_settings.DEFAULTS`, with `top_k`; without
        any, the kb searches as its own settings say
    :raises KbNotFound: no such kb
    :raises DocumentNotFound: one of `doc_ids` is not in it
    """
    queries = query_parts(question)
    if not queries:
        return []
    with kb_must_exist(kb_id):
        if doc_ids and settings:
            return _passages_of_documents(kb_id, queries, settings, doc_ids)
        found = [_retrieve(kb_id, query, settings) for query in queries]
    most = settings["top_k"] if settings else max(map(len, found))
    return _best_of(found)[:most]


def find_passages_of(kb_ids: Iterable[str], question: str) -> list[Json]:
    """The passages of several knowledge bases, best first, each with the `kb_id` that it comes from."""
    found = []
    for kb_id in kb_ids:
        found.append([{**record, "kb_id": kb_id} for record in find_passages(kb_id, question)])
    return _best_of(found)


def query_parts(question: str) -> list[str]:
    """The question as queries that Dify takes, cut between sentences where that is possible."""
    text = " ".join(question.split())
    if len(text) <= QUERY_LENGTH:
        return [text] if text else []
    parts = [""]
    for sentence in SENTENCE_END.split(text):
        if len(parts[-1]) + len(sentence) <= QUERY_LENGTH:
            parts[-1] += sentence
            continue
        parts += [sentence[at : at + QUERY_LENGTH] for at in range(0, len(sentence), QUERY_LENGTH)]
    parts = [part.strip() for part in parts if part.strip()]
    half = MOST_PARTS // 2
    return parts if len(parts) <= MOST_PARTS else parts[:half] + parts[-half:]


def _passages_of_documents(kb_id: str, queries: list[str], settings: Json, doc_ids: list[str]) -> list[Json]:
    """The best passages of these documents, not what is left of everybody's.

    Dify cannot filter by id, but by the built-in `document_name`, once that is switched on for the kb. Names are nearly
    unique, not quite: passages of a namesake are dropped, and if that leaves too few, we look further.
    """
    documents = [_get_document(kb_id, document_id) for document_id in doc_ids]
    if any(not document.get("doc_metadata") for document in documents):
        dify.knowledge.enable_built_in_metadata(kb_id)
    conditions = [
        {"name": "document_name", "comparison_operator": "is", "value": name}
        for name in sorted({document["name"] for document in documents})
    ]
    only_these = {"logical_operator": "or", "conditions": conditions}
    wanted = settings["top_k"]
    for top_k in (wanted, wanted * WIDER):
        found = [_retrieve(kb_id, query, {**settings, "top_k": top_k}, only_these) for query in queries]
        mine = [[record for record in records if record["segment"]["document_id"] in doc_ids] for records in found]
        if all(len(own) >= wanted or len(records) < top_k for own, records in zip(mine, found, strict=True)):
            break
    return _best_of(mine)[:wanted]


def _get_document(kb_id: str, document_id: str) -> Json:
    with document_must_exist(kb_id, document_id):
        document: Json = dify.knowledge.get_document(kb_id, document_id)
    return document


def _retrieve(kb_id: str, query: str, settings: Json | None, filters: Json | None = None) -> list[Json]:
    """One search; where Dify refuses it for want of an index, what a person would expect instead."""
    embedding = None
    if settings and settings.get("search_method") == "hybrid_search":
        embedding = embedding_model(dify.knowledge.get_dataset(kb_id))
    model = retrieval_model(settings, embedding=embedding) if settings else None
    try:
        return _ask(kb_id, query, model, filters)
    except (DifyRejected, DifyFailed) as error:
        # A kb without an index is refused with SQL text (retrieve/empty-dataset), a search by meaning in an economy kb
        # as well (retrieve/semantic-on-economy), and 1.8.1 fails where a kb's own settings are incomplete
        # (datasets/retrieve-after-patch-partial).
        dataset = dify.knowledge.get_dataset(kb_id)
        is_economy = dataset.get("indexing_technique") == "economy"
        # Characters are counted before the first document is indexed, and stay where that failed.
        if not dataset.get("word_count") or error.message == NO_INDEX and not is_economy:
            return []
        if settings is not None and (not is_economy or "search_method" in settings):
            raise
        method = method_for(dataset.get("indexing_technique") or "high_quality", None)
        stored = None if settings else dataset.get("retrieval_model_dict")
        whole = retrieval_model(
            {**(settings or {}), "search_method": method}, embedding=embedding_model(dataset), stored=stored
        )
        return _ask(kb_id, query, whole, filters)


def _ask(kb_id: str, query: str, model: Json | None, filters: Json | None) -> list[Json]:
    if filters and model:
        model = {**model, "metadata_filtering_conditions": filters}
    records: list[Json] = dify.knowledge.retrieve(kb_id, query, model)["records"]
    return records


def _best_of(lists: Iterable[list[Json]]) -> list[Json]:
    """Several lists of records as one, each segment once with its best score, best first."""
    best: dict[str, Json] = {}
    for record in chain.from_iterable(lists):
        known = best.get(record["segment"]["id"])
        if known is None or score(record) > score(known):
            best[record["segment"]["id"]] = record
    return sorted(best.values(), key=score, reverse=True)
