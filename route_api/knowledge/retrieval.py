"""Finding passages for a question, with what Dify's retrieve lacks: long questions, several kbs, given documents."""

import re
from collections.abc import Iterable
from itertools import chain
from typing import Any

from ..dify import NO_INDEX
from ..dify.records import embedding_model, score
from ..errors import DifyFailed, DifyRejected, DifyUnreadable
from ..extensions import dify
from .not_found import document_must_exist, kb_must_exist
from .retrieval_settings import retrieval_model, search_method_for

Json = dict[str, Any]

MAX_QUERY_LENGTH = 250
"""Dify refuses a query with more characters (tests/contract/dify-1.8.1/retrieve/query-251.json)."""

MAX_QUERIES = 4
"""Queries that one question is split into. Of a longer question we search for the beginning and the end only."""

WIDER_SEARCH_FACTOR = 10
"""By this we multiply `top_k` if documents with the same name took the places of the wanted documents' passages."""

SENTENCE_END = re.compile(r"(?<=[。！？；.!?;\n])")


def find_passages(
    kb_id: str, question: str, settings: Json | None = None, doc_ids: list[str] | None = None
) -> list[Json]:
    """Search a knowledge base for a question of any length.

    Upstream calls: one for each 250 characters of the question. One more for each document in `doc_ids`, because Dify
    filters by name (tests/contract/FINDINGS.md, e). One more for a hybrid search, because its weights must name the
    kb's embedding model. One more if Dify refuses the search, to distinguish an empty kb from a fault.

    :param settings: our retrieval parameters, as in :data:`.retrieval_settings.DEFAULTS`, with `top_k`; None searches
        with the settings of the kb
    :param doc_ids: search in these documents only; needs `settings`
    :returns: Dify's records, best first
    :raises KbNotFound: there is no such kb
    :raises DocumentNotFound: one of `doc_ids` is not in the kb
    """
    queries = split_question(question)
    if not queries:
        return []
    with kb_must_exist(kb_id):
        if doc_ids and settings:
            return _search_documents(kb_id, queries, settings, doc_ids)
        results = [_search(kb_id, query, settings) for query in queries]
    limit = settings["top_k"] if settings else max(map(len, results))
    return _merge(results)[:limit]


def find_passages_in_kbs(kb_ids: Iterable[str], question: str) -> list[Json]:
    """Search several knowledge bases, each with its own settings.

    :returns: Dify's records, best first, each with the `kb_id` that it comes from
    """
    return _merge([{**record, "kb_id": kb_id} for record in find_passages(kb_id, question)] for kb_id in kb_ids)


def split_question(question: str) -> list[str]:
    """Split a question into queries that Dify accepts, between sentences where that is possible."""
    text = " ".join(question.split())
    if len(text) <= MAX_QUERY_LENGTH:
        return [text] if text else []
    queries = [""]
    for sentence in SENTENCE_END.split(text):
        if len(queries[-1]) + len(sentence) <= MAX_QUERY_LENGTH:
            queries[-1] += sentence
            continue
        queries += [sentence[at : at + MAX_QUERY_LENGTH] for at in range(0, len(sentence), MAX_QUERY_LENGTH)]
    queries = [query.strip() for query in queries if query.strip()]
    half = MAX_QUERIES // 2
    return queries if len(queries) <= MAX_QUERIES else queries[:half] + queries[-half:]


def _search_documents(kb_id: str, queries: list[str], settings: Json, doc_ids: list[str]) -> list[Json]:
    """Find the best passages of the given documents.

    Dify cannot filter by a document's id, only by the built-in `document_name`, which must be switched on for the kb
    first. Two documents may have the same name. So we drop the passages of other documents, and search once more with
    a larger `top_k` if too few are left.
    """
    documents = [_get_document(kb_id, document_id) for document_id in doc_ids]
    if any(not document.get("doc_metadata") for document in documents):
        dify.knowledge.enable_built_in_metadata(kb_id)
    conditions = [
        {"name": "document_name", "comparison_operator": "is", "value": name}
        for name in sorted({document["name"] for document in documents})
    ]
    filters = {"logical_operator": "or", "conditions": conditions}
    limit = settings["top_k"]
    for top_k in (limit, limit * WIDER_SEARCH_FACTOR):
        results = [_search(kb_id, query, {**settings, "top_k": top_k}, filters) for query in queries]
        wanted = [[record for record in records if record["segment"]["document_id"] in doc_ids] for records in results]
        if all(len(kept) >= limit or len(records) < top_k for kept, records in zip(wanted, results, strict=True)):
            break
    return _merge(wanted)[:limit]


def _get_document(kb_id: str, document_id: str) -> Json:
    with document_must_exist(kb_id, document_id):
        document: Json = dify.knowledge.get_document(kb_id, document_id)
    return document


def _search(kb_id: str, query: str, settings: Json | None, filters: Json | None = None) -> list[Json]:
    """Search once. A kb without an index has no passages; settings that the kb cannot search with are replaced."""
    embedding = None
    if settings and settings.get("search_method") == "hybrid_search":
        embedding = embedding_model(dify.knowledge.get_dataset(kb_id))
    model = retrieval_model(settings, embedding=embedding) if settings else None
    try:
        return _retrieve(kb_id, query, model, filters)
    except DifyUnreadable:
        raise
    except (DifyRejected, DifyFailed) as error:
        # Dify refuses three searches that a caller expects to work (recorded in tests/contract/dify-*/):
        # - in a kb without an index, with SQL text (retrieve/empty-dataset);
        # - by meaning in an economy kb, also with SQL text (retrieve/semantic-on-economy);
        # - with incomplete settings of the kb, in 1.8.1 (datasets/retrieve-after-patch-partial).
        dataset = dify.knowledge.get_dataset(kb_id)
        is_economy = dataset.get("indexing_technique") == "economy"
        # Dify counts the characters of a document before it indexes it, and keeps the count if indexing fails.
        if not dataset.get("word_count") or error.message == NO_INDEX and not is_economy:
            return []
        if settings is not None and (not is_economy or "search_method" in settings):
            raise
        method = search_method_for(dataset.get("indexing_technique") or "high_quality", None)
        stored = None if settings else dataset.get("retrieval_model_dict")
        model = retrieval_model(
            {**(settings or {}), "search_method": method}, embedding=embedding_model(dataset), stored=stored
        )
        return _retrieve(kb_id, query, model, filters)


def _retrieve(kb_id: str, query: str, model: Json | None, filters: Json | None) -> list[Json]:
    if filters and model:
        model = {**model, "metadata_filtering_conditions": filters}
    records: list[Json] = dify.knowledge.retrieve(kb_id, query, model)["records"]
    return records


def _merge(results: Iterable[list[Json]]) -> list[Json]:
    """Merge several lists of records into one, best first; a segment that comes twice keeps its best score."""
    best: dict[str, Json] = {}
    for record in chain.from_iterable(results):
        known = best.get(record["segment"]["id"])
        if known is None or score(record) > score(known):
            best[record["segment"]["id"]] = record
    return sorted(best.values(), key=score, reverse=True)
