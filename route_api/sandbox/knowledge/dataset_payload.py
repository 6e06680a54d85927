"""The JSON in which Dify shows a dataset."""

from sqlite3 import Row
from typing import Any

from ..access.account_table import account_id_and_name
from ..store import Store
from ..version import since_1_16
from .dataset_field_checks import stored_retrieval_model
from .metadata_table import dataset_fields
from .tag_table import tags_of


def dataset_payload(store: Store, dataset: Row) -> dict[str, Any]:
    """A dataset as Dify shows it, with the counts of its documents."""
    connection = store.connection()
    counts = connection.execute(
        "SELECT count(*) AS documents, coalesce(sum(word_count), 0) AS words,"
        " coalesce(sum(enabled AND NOT archived AND indexing_status = 'completed'), 0) AS available"
        " FROM document WHERE dataset_id = ?",
        (dataset["id"],),
    ).fetchone()
    retrieval_model = stored_retrieval_model(dataset)
    return {
        "id": dataset["id"],
        "name": dataset["name"],
        "description": dataset["description"],
        "provider": "vendor",
        "permission": dataset["permission"],
        "data_source_type": "upload_file" if counts["documents"] else None,
        "indexing_technique": dataset["indexing_technique"],
        "app_count": 0,
        "document_count": counts["documents"],
        "word_count": counts["words"],
        "created_by": dataset["created_by"],
        "author_name": account_id_and_name(store)[1],
        "created_at": dataset["created_at"],
        "updated_by": dataset["created_by"],
        "updated_at": dataset["updated_at"],
        "embedding_model": dataset["embedding_model"],
        "embedding_model_provider": dataset["embedding_model_provider"],
        "embedding_available": True,
        "retrieval_model_dict": retrieval_model,
        "summary_index_setting": dict.fromkeys(("enable", "model_name", "model_provider_name", "summary_prompt")),
        "tags": tags_of(connection, dataset["id"]),
        "doc_form": dataset["doc_form"],
        "external_knowledge_info": {
            f"external_knowledge_{field}": None for field in ("id", "api_id", "api_name", "api_endpoint")
        },
        "external_retrieval_model": {
            "top_k": retrieval_model["top_k"],
            "score_threshold": retrieval_model.get("score_threshold") or 0.0,
            "score_threshold_enabled": retrieval_model["score_threshold_enabled"],
        },
        "doc_metadata": dataset_fields(connection, dataset),
        "built_in_field_enabled": bool(dataset["built_in_metadata"]),
        "pipeline_id": None,
        "runtime_mode": "general",
        "chunk_structure": None,
        "icon_info": dict.fromkeys(("icon_type", "icon", "icon_background", "icon_url")),
        "is_published": False,
        "total_documents": counts["documents"],
        "total_available_documents": counts["available"],
        "enable_api": bool(dataset["enable_api"]),
        "is_multimodal": False,
        **since_1_16(maintainer=dataset["created_by"]),
    }
