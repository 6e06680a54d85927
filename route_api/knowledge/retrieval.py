"""Finding passages for a question, with what Dify's retrieve lacks: long questions, several kbs, given documents."""

import re
from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import Any

from ..dify import NO_INDEX, side_by_side
from ..dify.records import embedding_model, score
from ..errors import DifyFailed, DifyRejected, DifyUnreadable
from ..extensions import dify
from ..languages import Sentence
from .documents import get_document
from .not_found import kb_must_exist
from .retrieval_settings import retrieval_model, search_method_for

Json = dict[str, Any]

MAX_QUERY_LENGTH = 250
"""Dify refuses a query with more characters (tests/contract/dify-1.8.1/retrieve/query-251.json)."""

MAX_QUERIES = 4
"""Queries that one question is split into. Of a longer question we search for the beginning and the end only."""

WIDER_SEARCH_FACTORS = (1, 10, 100)
"""By these we multiply `top_k` if other documents took the places of the wanted documents' passages. The last one is
for a Dify that ignores the filter (:func:`_search_documents`)."""

LARGEST_TOP_K = 1000
"""Dify's answer would be too large with more."""

OWN_INDEX = Sentence(
    "its service API looks for an index of its own, and does not ask the service that has the documents."
)

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
    if doc_ids and settings:
        return _search_documents(kb_id, queries, settings, doc_ids)
    results = _search_all((kb_id, query, settings) for query in queries)
    return _best(results, settings["top_k"] if settings else None)


def find_passages_in_kbs(kb_ids: Iterable[str], question: str) -> list[Json]:
    """Search several knowledge bases, each with its own settings.

    :returns: Dify's records, best first, each with the `kb_id` that it comes from
    """
    queries, kbs = split_question(question), list(kb_ids)
    results = _search_all((kb_id, query, None) for kb_id in kbs for query in queries)
    found_in = [(kb_id, results[at * len(queries) : (at + 1) * len(queries)]) for at, kb_id in enumerate(kbs)]
    return _merge([{**record, "kb_id": kb_id} for record in _best(found, None)] for kb_id, found in found_in)


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
    a larger `top_k` if too few are left. Dify 1.13.3 to 1.14.0 ignores the filter: then documents with other names come
    too, and we search a third time. This was read in Dify's code, not recorded.
    """
    documents = side_by_side(*(partial(get_document, kb_id, document_id) for document_id in doc_ids))
    if any(not document.get("doc_metadata") for document in documents):
        dify.knowledge.enable_built_in_metadata(kb_id)
    names = {document["name"] for document in documents}
    conditions = [{"name": "document_name", "comparison_operator": "is", "value": name} for name in sorted(names)]
    filters = {"logical_operator": "or", "conditions": conditions}
    limit = settings["top_k"]
    for factor in WIDER_SEARCH_FACTORS:
        top_k = max(limit, min(limit * factor, LARGEST_TOP_K))
        results = _search_all((kb_id, query, {**settings, "top_k": top_k}, filters) for query in queries)
        wanted = [[record for record in records if record["segment"]["document_id"] in doc_ids] for records in results]
        is_filtered = all(_document_name(record) in names for records in results for record in records)
        if is_filtered and factor > 1 or top_k == LARGEST_TOP_K:
            break
        if all(len(kept) >= limit or len(records) < top_k for kept, records in zip(wanted, results, strict=True)):
            break
    return _best(wanted, limit)


def _document_name(record: Json) -> str | None:
    name: str | None = (record["segment"].get("document") or {}).get("name")
    return name


def _search_all(searches: Iterable[tuple[Any, ...]]) -> list[list[Json]]:
    """Make several searches, side by side.

    :param searches: the arguments of :func:`_search`
    """
    return side_by_side(*(partial(_search, *search) for search in searches))


def _search(kb_id: str, query: str, settings: Json | None, filters: Json | None = None) -> list[Json]:
    """Search once. A kb without an index has no passages; settings that the kb cannot search with are replaced.

    :raises KbNotFound: there is no such kb
    :raises DifyFailed: Dify cannot search an external kb
    """
    with kb_must_exist(kb_id):
        return _search_kb(kb_id, query, settings, filters)


def _search_kb(kb_id: str, query: str, settings: Json | None, filters: Json | None) -> list[Json]:
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
        if dataset.get("provider") == "external":
            # Its documents are elsewhere, so Dify counts no words, and the kb is not empty for that. By its code, Dify
            # 1.12.1 does not ask the other service here, but searches an index of its own, which does not exist.
            reason = OWN_INDEX if error.message == NO_INDEX else error.message
            text = Sentence(
                "Dify could not search the external knowledge base '{name}': {reason}",
                name=dataset["name"],
                reason=reason,
            )
            raise DifyFailed(text, dify_status=error.dify_status, dify_code=error.dify_code) from error
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


def _best(results: list[list[Json]], limit: int | None) -> list[Json]:
    """The best records of several searches in one kb: `limit` of them, or as many as the kb's own settings gave one
    search."""
    return _merge(results)[: max(map(len, results), default=0) if limit is None else limit]


def _merge(results: Iterable[list[Json]]) -> list[Json]:
    """Merge several lists of records into one, best first; a segment that comes twice keeps its best score."""
    best: dict[str, Json] = {}
    for record in chain.from_iterable(results):
        known = best.get(record["segment"]["id"])
        if known is None or score(record) > score(known):
            best[record["segment"]["id"]] = record
    return sorted(best.values(), key=score, reverse=True)
