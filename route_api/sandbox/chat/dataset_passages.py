"""Finds passages for a question in the datasets of an app's configuration."""

from sqlite3 import Connection
from typing import Any

from ..apps.app_config import Config
from ..knowledge.dataset_field_checks import stored_retrieval_model
from ..knowledge.search_methods import Passage, Search, find_passages, weights_of
from ..store import Store

DEFAULT_TOP_K = 4


def find_context(store: Store, config: Config, question: str, source: str) -> tuple[str | None, list[dict[str, Any]]]:
    """Find the best passages of the app's datasets.

    An unknown dataset is no error: the text is then empty (debugger/override-dataset-unknown).

    :param source: `api` or `console`; the service API shows fewer fields (chat/blocking-app-with-dataset)
    :returns: the passages as one text, and as `retriever_resources`; (None, []) if the app has no dataset
    """
    settings = config["dataset_configs"]
    dataset_ids = _enabled_dataset_ids(settings)
    if not dataset_ids:
        return None, []
    top_k = settings.get("top_k")
    if not isinstance(top_k, int) or top_k < 1:
        top_k = DEFAULT_TOP_K
    connection = store.connection()
    found = [
        (dataset_id, passage)
        for dataset_id in dataset_ids
        for passage in _passages_of(store, dataset_id, question, top_k)
    ]
    found.sort(key=lambda pair: -pair[1].score)
    if settings.get("score_threshold_enabled"):
        found = [pair for pair in found if pair[1].score >= (settings.get("score_threshold") or 0)]
    resources = [
        _resource(connection, position, dataset_id, passage, is_console=source == "console")
        for position, (dataset_id, passage) in enumerate(found[:top_k], 1)
    ]
    return "\n".join(resource["content"] for resource in resources), resources


def _resource(
    connection: Connection, position: int, dataset_id: str, passage: Passage, *, is_console: bool
) -> dict[str, Any]:
    """An entry of `retriever_resources`.

    :param position: the rank of the passage, from 1
    """
    segment = passage.segment
    names = connection.execute(
        "SELECT dataset.name AS dataset, document.name AS document FROM document"
        " JOIN dataset ON dataset.id = dataset_id WHERE document.id = ?",
        (segment["document_id"],),
    ).fetchone()
    return {
        "position": position,
        "dataset_id": dataset_id,
        "dataset_name": names["dataset"],
        "document_id": segment["document_id"],
        "document_name": names["document"],
        "data_source_type": "upload_file",
        "segment_id": segment["id"],
        "retriever_from": "dev" if is_console else "api",
        "score": passage.score,
        "hit_count": segment["hit_count"] if is_console else None,
        "word_count": segment["word_count"] if is_console else None,
        "segment_position": segment["position"] if is_console else None,
        "index_node_hash": segment["index_node_hash"] if is_console else None,
        "content": segment["content"],
        "page": None,
        "doc_metadata": None,
        "title": None,
        "files": None,
        "summary": None,
    }


def _passages_of(store: Store, dataset_id: str, question: str, top_k: int) -> list[Passage]:
    """Search a dataset by its own method."""
    dataset = store.connection().execute("SELECT * FROM dataset WHERE id = ?", (dataset_id,)).fetchone()
    if dataset is None:
        return []
    model = stored_retrieval_model(dataset)
    method = model["search_method"] if dataset["indexing_technique"] == "high_quality" else "keyword_search"
    return find_passages(store, dataset_id, question, Search(method, top_k, None, *weights_of(model)))


def _enabled_dataset_ids(settings: dict[str, Any]) -> list[str]:
    """Read the ids from `{"datasets": {"datasets": [{"dataset": {"enabled": true, "id": "..."}}]}}`."""
    try:
        datasets = [entry["dataset"] for entry in settings["datasets"]["datasets"]]
        return [str(dataset["id"]) for dataset in datasets if dataset.get("enabled")]
    except (AttributeError, KeyError, TypeError):
        return []
