"""How to read a dataset, a segment or a retrieval record as Dify writes it. Pure functions."""

from typing import Any

Json = dict[str, Any]

EmbeddingModel = tuple[str, str]
"""The name of an embedding model and of its provider."""

RerankModel = tuple[str, str]
"""The name of a rerank model and of its provider."""


def embedding_model(dataset: Json) -> EmbeddingModel | None:
    """Read the embedding model of a dataset.

    :returns: None for a dataset that was created without one and has no document yet
    """
    model, provider = dataset.get("embedding_model"), dataset.get("embedding_model_provider")
    return (model, provider) if model and provider else None


def segment_text(segment: Json) -> str:
    """Read the text of a segment. In a dataset of the form qa_model it is the question, with the answer below it."""
    content, answer = segment.get("content") or "", segment.get("answer")
    return f"{content}\n{answer}" if answer else content


def record_of_source(source: Json) -> Json:
    """Turn a source of an answer, an entry of `retriever_resources`, into a retrieval record. Dify leaves out what is
    null (1.16.1), and what is not in its own knowledge has no ids; they are empty then."""
    document_id = source.get("document_id") or ""
    return {
        "kb_id": source.get("dataset_id") or "",
        "score": source.get("score"),
        "segment": {
            "content": source.get("content"),
            "document": {"id": document_id, "name": source.get("document_name")},
            "document_id": document_id,
            "id": source.get("segment_id") or "",
        },
        "source": "app",
    }


def document_name(record: Json) -> str:
    """Read the name of the document that a retrieval record comes from; empty if the record has none."""
    return (record["segment"].get("document") or {}).get("name") or ""


def score(record: Json) -> float:
    """Read the score of a retrieval record, 0 to 1. Dify 1.8.1 writes null after a keyword search, read as 0."""
    return float(record.get("score") or 0.0)
