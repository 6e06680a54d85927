"""The fields of Dify's answers that our code reads, with their types, for each call of this client.

The types come from the recordings in tests/contract. Dify writes null in many places where its documentation has a
number or a text. `decoder.py` has the check.
"""

from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from .decoder import Kind, ListOf, MapOf, Shape, is_shallow


@lru_cache(4096)  # A stream repeats its ids in each event.
def _is_id(text: str) -> bool:
    return len(text) <= 36 and text.isascii() and text.replace("-", "").isalnum()


def _is_address(text: str) -> bool:
    """Whether a text can be the target of a request."""
    if not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        urlsplit(text)
    except ValueError:  # For example, a bracket without its pair.
        return False
    return True


def _are_icons(icons: dict[str, Any]) -> bool:
    return all(each is None or isinstance(each, str) and _is_address(each) for each in icons.values())


def _is_metadata(metadata: Any) -> bool:
    """Whether this is a list of entries with names, or an object from name to value."""
    if isinstance(metadata, list) and not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in metadata
    ):
        return False
    return is_shallow(metadata)


TEXT = Kind("a text", str)
FLAG = Kind("a boolean", bool)
NUMBER = Kind("a number", int, float)
COUNT = Kind("a whole number", int)
ID = Kind("an id of at most 36 letters, digits and hyphens", str, accepts=_is_id)
ADDRESS = Kind("an address that can be requested", str, accepts=_is_address)
TOKEN = Kind("a token of ASCII characters", str, accepts=lambda token: token.isascii() and token.isprintable())
"""A secret that we send in a header."""

JSON_LIST = Kind("a list of few levels", list, accepts=is_shallow)
ICONS = Kind("an object of addresses", dict, accepts=_are_icons)
DOC_METADATA = Kind("a list of named entries", list, dict, accepts=_is_metadata)

# ------------------------------------------------------------------ knowledge.py

RETRIEVAL_MODEL = Shape(
    "retrieval model",
    optional={
        "search_method": TEXT,
        "reranking_enable": FLAG,
        "score_threshold_enabled": FLAG,
        "score_threshold": NUMBER,
        "top_k": COUNT,
        "weights": Shape(
            "weights",
            {
                "vector_setting": Shape(
                    "vector setting",
                    optional={"vector_weight": NUMBER, "embedding_model_name": TEXT},
                )
            },
        ),
        "reranking_model": Shape("reranking model", optional={"reranking_model_name": TEXT}),
    },
    is_passed_on=True,
)
_DATASET_NEEDED = {"id": TEXT, "name": TEXT}
_DATASET_OPTIONAL = {
    "author_name": TEXT,
    "created_at": NUMBER,
    "description": TEXT,
    "document_count": COUNT,
    "embedding_model": TEXT,
    "embedding_model_provider": TEXT,
    "permission": TEXT,
    "total_available_documents": COUNT,
    "updated_at": NUMBER,
    "word_count": COUNT,
}
DATASET = Shape(
    "dataset",
    _DATASET_NEEDED,
    optional={
        **_DATASET_OPTIONAL,
        "created_by": TEXT,
        "indexing_technique": TEXT,
        "partial_member_list": JSON_LIST,
        "provider": TEXT,
        "retrieval_model_dict": RETRIEVAL_MODEL,
    },
)
DATASETS = Shape(
    "datasets", {"data": ListOf(Shape("dataset", _DATASET_NEEDED, optional=_DATASET_OPTIONAL)), "total": COUNT}
)
"""A row of the list is not checked for the fields that only `kb/detail` and `kb/update` read."""

UPLOADED_FILE_FIELDS = {
    "created_at": NUMBER,
    "created_by": TEXT,
    "extension": TEXT,
    "id": TEXT,
    "mime_type": TEXT,
    "name": TEXT,
    "size": COUNT,
}
DATA_SOURCE = Shape("data source", optional={"upload_file": Shape("uploaded file", optional=UPLOADED_FILE_FIELDS)})
DOCUMENT = Shape(
    "document",
    {"id": TEXT, "name": TEXT},
    optional={
        "archived": FLAG,
        "completed_at": NUMBER,
        "created_at": NUMBER,
        "created_by": TEXT,
        "data_source_detail_dict": DATA_SOURCE,
        "data_source_info": DATA_SOURCE,
        "data_source_type": TEXT,
        "doc_form": TEXT,
        "doc_metadata": DOC_METADATA,
        "enabled": FLAG,
        "error": TEXT,
        "indexing_latency": NUMBER,
        "indexing_status": TEXT,
        "segment_count": COUNT,
        "tokens": COUNT,
        "updated_at": NUMBER,
        "word_count": COUNT,
    },
)
SEGMENT = Shape(
    "segment",
    {"id": TEXT, "document_id": TEXT},
    optional={
        "answer": TEXT,
        "content": TEXT,
        "document": Shape("document of a segment", optional={"id": TEXT, "name": TEXT}),
        "enabled": FLAG,
        "keywords": ListOf(TEXT),
        "position": COUNT,
    },
)
SEGMENT_DETAIL = Shape(
    "answer about a segment", optional={"data": Shape("status of a segment", optional={"status": TEXT})}
)
RECORDS = Shape("retrieval", {"records": ListOf(Shape("record", {"segment": SEGMENT}, optional={"score": NUMBER}))})
_STATUS_FIELDS = {
    "completed_at": NUMBER,
    "completed_segments": COUNT,
    "error": TEXT,
    "indexing_status": TEXT,
    "processing_started_at": NUMBER,
    "stopped_at": NUMBER,
    "total_segments": COUNT,
}
INDEXING_STATUS = Shape(
    "indexing status", {"data": ListOf(Shape("status of a document", optional=_STATUS_FIELDS, is_passed_on=True))}
)
MODELS = Shape(
    "models",
    {
        "data": ListOf(
            Shape(
                "provider",
                {"provider": TEXT, "models": ListOf(Shape("model", {"model": TEXT}, optional={"status": TEXT}))},
                optional={"icon_large": ICONS, "icon_small": ICONS},
                is_passed_on=True,
            )
        )
    },
)
DOCUMENTS = Shape("documents", {"data": ListOf(DOCUMENT), "total": COUNT})
SEGMENTS = Shape("segments", {"data": ListOf(SEGMENT), "total": COUNT})
CREATED_DOCUMENT = Shape("new document", {"batch": TEXT, "document": DOCUMENT})
FILE = Shape("file", {"url": ADDRESS}, optional={**UPLOADED_FILE_FIELDS, "download_url": ADDRESS})

# ------------------------------------------------------------------ chat_app.py, debugger.py, events.py

_IDS = {"message_id": ID, "conversation_id": ID, "task_id": ID}
_SOURCE = Shape(
    "source of an answer",
    optional={
        "content": TEXT,
        "dataset_id": TEXT,
        "document_id": TEXT,
        "document_name": TEXT,
        "score": NUMBER,
        "segment_id": TEXT,
    },
)
_METADATA = Shape(
    "metadata of an answer",
    optional={
        "reasoning": MapOf(TEXT),
        "retriever_resources": ListOf(_SOURCE),
        "usage": Shape("usage", optional={"total_tokens": COUNT}, is_passed_on=True),
    },
)
_HUMAN_INPUT_FIELD = Shape(
    "field of a form",
    {"output_variable_name": TEXT, "type": TEXT},
    optional={
        "default": Shape("default of a field", optional={"value": TEXT}),
        "option_source": Shape("options of a field", optional={"value": ListOf(TEXT)}),
    },
)
_HUMAN_INPUT_FORM = Shape(
    "form",
    optional={
        "actions": ListOf(Shape("action of a form", {"id": TEXT}, optional={"title": TEXT})),
        "expiration_time": COUNT,
        "form_content": TEXT,
        "form_id": TEXT,
        "form_token": TOKEN,
        "inputs": ListOf(_HUMAN_INPUT_FIELD),
        "node_title": TEXT,
        "resolved_default_values": MapOf(TEXT),
    },
)
_FORM = ListOf(
    MapOf(
        Shape("variable", {"variable": TEXT}, optional={"max_length": COUNT, "options": ListOf(TEXT), "required": FLAG})
    )
)
PARAMETERS = Shape("parameters", nullable={"user_input_form": _FORM})
APP_INFO = Shape("app", {"name": TEXT, "mode": TEXT})
MESSAGES = Shape("messages", {"data": ListOf(Shape("message", {"id": ID, "answer": TEXT}, optional={"status": TEXT}))})
SUGGESTED = Shape("suggested questions", {"data": ListOf(TEXT)})
_TEXT_EVENT = Shape("event with text", {"answer": TEXT}, nullable=_IDS)
EVENTS = {
    "message": _TEXT_EVENT,
    "agent_message": _TEXT_EVENT,
    "message_replace": _TEXT_EVENT,
    "message_end": Shape("last event", nullable={**_IDS, "metadata": _METADATA}),
    "reasoning_chunk": Shape(
        "event with reasoning",
        {"data": Shape("data of reasoning", {"reasoning": TEXT}, optional={"node_id": TEXT})},
        nullable=_IDS,
    ),
    "error": Shape("event of an error", nullable=_IDS, optional={"status": COUNT}),
    "workflow_finished": Shape(
        "end of a chatflow",
        {"data": Shape("data of the end of a chatflow", {"status": TEXT}, optional={"error": TEXT})},
        nullable=_IDS,
    ),
    "workflow_paused": Shape(
        "pause of a chatflow",
        {"data": Shape("data of the pause of a chatflow", optional={"reasons": ListOf(_HUMAN_INPUT_FORM)})},
        nullable={**_IDS, "workflow_run_id": ID},
    ),
}
"""The events of a stream that our code reads."""

OTHER_EVENT = Shape("event", nullable=_IDS)

# ------------------------------------------------------------------ console.py, console_login.py, provisioning.py

CONSOLE_DOCUMENTS = Shape(
    "documents of the console",
    {
        "data": ListOf(
            Shape(
                "document of the console", {"id": TEXT}, optional={"completed_segments": COUNT, "total_segments": COUNT}
            )
        )
    },
)
DATASET_INDEXING_STATUS = Shape(
    "indexing status of a dataset",
    {"data": ListOf(Shape("status of a document", {"id": TEXT}, optional=_STATUS_FIELDS))},
)
UPLOAD_LIMITS = Shape("upload limits", {"file_size_limit": NUMBER}, optional={"knowledge_file_size_limit": NUMBER})
APPS = Shape(
    "apps", {"data": ListOf(Shape("app", {"id": ID, "name": TEXT}, optional={"created_at": NUMBER})), "has_more": FLAG}
)
KEYS = Shape(
    "keys",
    {"data": ListOf(Shape("key", {"token": TEXT}, optional={"created_at": NUMBER}, nullable={"dataset_id": ID}))},
)
NEW_KEY = Shape("new key", {"token": TOKEN})
NEW_APP = Shape("new app", {"id": ID})
MODEL_CONFIG = Shape(
    "model config",
    {
        "model": Shape(
            "model of an app",
            nullable={"provider": TEXT, "name": TEXT, "completion_params": Kind("an object", dict)},
        )
    },
    nullable={"pre_prompt": TEXT, "user_input_form": _FORM},
    is_passed_on=True,
)
APP = Shape("app", {"id": ID, "name": TEXT, "enable_api": FLAG, "model_config": MODEL_CONFIG})
PARAMETER_RULES = Shape(
    "parameter rules",
    {"data": ListOf(Shape("rule", {"name": TEXT}, optional={"max": NUMBER, "min": NUMBER, "use_template": TEXT}))},
)
DEFAULT_MODEL = Shape(
    "default model",
    nullable={"data": Shape("model", {"model": TEXT, "provider": Shape("provider", {"provider": TEXT})})},
)
LOGIN = Shape("login", {"data": Shape("tokens", {"access_token": TOKEN, "refresh_token": TOKEN})})
