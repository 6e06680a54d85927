"""Documents: parameters and answers. Source: the API document, part two."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from ..languages import Sentence
from .answers import AnyKeys, Empty, OrNull, answer, schema_like
from .base import Page, Parameters
from .fields import Choice, Given, Id, Ids, Text, Whole

MAX_FILES = 100
"""Number of files in one upload."""

MAX_IDS = 100
"""Number of documents in one request."""

MIN_CHUNK_TOKENS, MAX_CHUNK_TOKENS = 50, 4000
"""Limits of Dify on a chunk's size. With another `max_tokens` Dify accepts the upload, and indexing fails (recorded in
tests/contract/ as documents/indexing-status-error-max-tokens)."""


class DocumentUpload(Parameters):
    """Parameters of `document/upload`, without the files."""

    kb_id = Id(required=True)
    on_duplicate = Choice(
        ["rename", "replace", "reject"],
        load_default="rename",
        metadata={"description": "what becomes of a file whose name the kb has already"},
    )
    mode = Choice(["custom", "automatic"], load_default="custom", metadata={"description": "who chooses the splitting"})
    separator = Text(
        max_length=200, blank=True, load_default="\n\n", metadata={"description": "where a text may be cut"}
    )
    max_tokens = Whole(minimum=MIN_CHUNK_TOKENS, maximum=MAX_CHUNK_TOKENS, load_default=500)
    chunk_overlap = Whole(minimum=0, maximum=MAX_CHUNK_TOKENS, load_default=50)
    indexing_technique = Choice(["high_quality", "economy"], load_default="high_quality")
    doc_form = Choice(
        ["text_model", "qa_model"],
        load_default="text_model",
        metadata={
            "description": "`qa_model`: each chunk is a question with its answer. Dify's language model writes them;"
            " the sandbox finds them in a csv with the columns question and answer, and in lines that begin with `Q:`"
            " and `A:`, or `问：` and `答：`"
        },
    )
    doc_language = Text(
        max_length=50, load_default="Chinese", metadata={"description": "of the questions of a qa_model"}
    )

    @validates_schema
    def _overlap_within_chunk(self, data: dict[str, Any], **_: Any) -> None:
        if data["chunk_overlap"] >= data["max_tokens"]:
            raise ValidationError({"chunk_overlap": [Sentence("must be less than max_tokens.")]})


class FileList(Given, fields.List):
    """The files of a form."""

    takes_lists = True

    default_error_messages = {
        "required": Sentence("is required: one or several files in multipart/form-data."),
    }


class DocumentFiles(Parameters):
    """The files of `document/upload`."""

    file = FileList(
        fields.Raw(metadata={"type": "string", "format": "binary", "example": "（文件内容）"}),
        required=True,
        validate=validate.Length(1, MAX_FILES, error=Sentence("must be 1 to {max_files} files.", max_files=MAX_FILES)),
    )


class DifyUpload(Schema):
    """The form of `datasets/…/create_by_file`: Dify's own form, which is sent to Dify unread."""

    data = fields.String(
        metadata={
            "description": "Dify's settings of the document, as JSON",
            "example": '{"indexing_technique": "high_quality", "process_rule": {"mode": "automatic"}}',
        }
    )
    file = fields.Raw(required=True, metadata={"type": "string", "format": "binary", "example": "（文件内容）"})


class DocumentPage(Page):
    """Parameters of `document/list`."""

    kb_id = Id(required=True)


class DocumentDownload(Parameters):
    """Parameters of `document/download`."""

    other_names = dict.fromkeys(("doc_id", "doc_ids", "document_ids"), "document_id")

    kb_id = Id(required=True)
    document_id = Ids(
        max_items=MAX_IDS,
        required=True,
        metadata={"description": "one id, or a list of them for a zip; or `doc_id`, `doc_ids`, `document_ids`"},
    )


class DocumentFile(Parameters):
    """The document whose file is asked for."""

    # Half of the endpoints in the API document call this parameter doc_id.
    other_names = {"doc_id": "document_id"}

    kb_id = Id(required=True)
    document_id = Id(required=True, metadata={"description": "or `doc_id`"})


class DocumentSave(DocumentFile):
    """Parameters of `document/get`."""

    download_dir = Text(
        max_length=200, blank=True, load_default="", metadata={"description": "a folder below DOWNLOAD_ROOT"}
    )


class DocumentRemove(Parameters):
    """Parameters of `document/rm`."""

    other_names = {"doc_ids": "doc_id"}

    kb_id = Id(required=True)
    doc_id = Ids(max_items=MAX_IDS, required=True, metadata={"description": "one id, or a list of them; or `doc_ids`"})


class Action(Choice):
    """`enable` or `disable`, or 1 or 0: RAGFlow's UI sends a number, in the parameter `status`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(["enable", "disable"], **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        word = super()._deserialize(value, attr, data, **kwargs)
        return {"1": "enable", "0": "disable"}.get(word, word)


class DocumentSwitch(DocumentRemove):
    """Parameters of `document/change_status`. RAGFlow's UI sends `doc_ids` since RAGFlow 0.20."""

    other_names = {**DocumentRemove.other_names, "status": "action"}

    action = Action(required=True, metadata={"description": "or `status`, 1 or 0", "example": "disable"})


class DocumentBatch(Parameters):
    """Parameters of `document/status`."""

    kb_id = Id(required=True)
    batch = Text(
        max_length=64,
        required=True,
        metadata={
            "description": "what the upload answered",
            "pattern": "^[A-Za-z0-9]+$",
            "example": "20250811071149495508",
        },
    )

    @validates_schema
    def _path_safe(self, data: dict[str, Any], **_: Any) -> None:
        if not (data["batch"].isascii() and data["batch"].isalnum()):
            raise ValidationError({"batch": [Sentence("must be letters and digits, such as 20250811051145512224.")]})


DOCUMENT_ROW = {
    "chunk_num": 20,
    "create_date": "Mon, 11 Aug 2025 05:11:45 GMT",
    "create_time": 1754889105,
    "created_by": "419e054c-66b7-482a-8615-63fa9ad227dd",
    "id": "4982aa94-d810-48a9-92fe-82a3a7913933",
    "kb_id": "e5176734-ead9-44cf-8bd6-124bc73564e0",
    "location": "",
    "meta_fields": {},
    "name": "从百草园到三味书屋.txt",
    "parser_config": {"pages": [Empty(1)]},
    "parser_id": "naive",
    "process_begin_at": OrNull("Mon, 11 Aug 2025 05:11:45 GMT"),
    "process_duation": 1.0,
    "process_duration": 1.0,
    "progress": 1.0,
    "progress_msg": "",
    "run": "3",
    "size": 4862,
    "source_type": "local",
    "status": "1",
    "thumbnail": "",
    "token_num": 3200,
    "type": "text_model",
    "update_date": "Mon, 11 Aug 2025 05:11:45 GMT",
    "update_time": 1754889105,
}
UPLOADED_DOCUMENT = {
    "batch": "20250811071149495508",
    "created_by": "419e054c-66b7-482a-8615-63fa9ad227dd",
    "id": "48bc77c2-b5c5-4115-98e6-8ed9834f1d52",
    "kb_id": "44ec9e21-6cd7-44ac-bfd3-da8d04cb4b6b",
    "location": "",
    "name": "111111.txt",
    "parser_config": {"pages": [Empty(1)]},
    "parser_id": "naive",
    "run": "0",
    "size": 4862,
    "thumbnail": "",
    "type": "txt",
}
SAVED_FILE = {
    "download_url": "/v1/document/download?kb_id=44ec9e21-…&document_id=48bc77c2-…",
    "file_info": {
        "created_at": 1752214968.581919,
        "created_by": "c85ba575-0a9f-4c7c-bc1b-95dc6810efaf",
        "download_url": "/files/debad906-…/file-preview?timestamp=1752224762&…&as_attachment=true",
        "extension": "pdf",
        "id": "debad906-570e-4302-b1a4-0ffd5253d0d1",
        "mime_type": "application/pdf",
        "name": "水价测算导则.pdf",
        "size": 810648,
        "url": "/files/debad906-…/file-preview?timestamp=1752224762&…",
    },
    "file_path": "/opt/route-api/var/downloads/44ec9e21-…/48bc77c2-…/水价测算导则.pdf",
}
INDEXING_STATUS = {
    "cleaning_completed_at": OrNull(1754889106),
    "completed_at": OrNull(1754889106),
    "completed_segments": 20,
    "error": OrNull("…", is_shown=False),
    "id": "8c0f2fd0-1baa-434a-8207-95dfe8fa1ae2",
    "indexing_status": "completed",
    "parsing_completed_at": OrNull(1754889105),
    "processing_started_at": OrNull(1754889105),
    "progress": 1.0,
    "progress_msg": "",
    "splitting_completed_at": OrNull(1754889106),
    "total_segments": 20,
}

DIFY_UPLOADED = {
    "document": {
        "id": "60f9f674-2b7b-49b8-bfde-f4ac208c7872",
        "position": 2,
        "data_source_type": "upload_file",
        "data_source_info": {"upload_file_id": "f1fc9567-2c87-4070-8cb3-7d8a2b3ff9c3"},
        "data_source_detail_dict": {
            "upload_file": {
                "id": "f1fc9567-2c87-4070-8cb3-7d8a2b3ff9c3",
                "name": "222222.txt",
                "size": 656,
                "extension": "txt",
                "mime_type": "text/plain",
                "created_by": "419e054c-66b7-482a-8615-63fa9ad227dd",
                "created_at": 1754452088.593775,
            }
        },
        "dataset_process_rule_id": "445f6303-bb1e-48d6-84f2-219b8dbaedde",
        "name": "222222.txt",
        "created_from": "api",
        "created_by": "419e054c-66b7-482a-8615-63fa9ad227dd",
        "created_at": 1754452089,
        "tokens": OrNull(3200, is_shown=False),
        "indexing_status": "parsing",
        "error": OrNull("…", is_shown=False),
        "enabled": True,
        "disabled_at": OrNull(1754889105, is_shown=False),
        "disabled_by": OrNull("419e054c-66b7-482a-8615-63fa9ad227dd", is_shown=False),
        "archived": False,
        "display_status": "indexing",
        "word_count": OrNull(656, is_shown=False),
        "hit_count": 0,
        "doc_form": "text_model",
        "doc_metadata": OrNull(Empty(AnyKeys(name="author", value="曹雪芹")), is_shown=False),
    },
    "batch": "20250806034808896242",
}

DifyUploadAnswer = schema_like("DifyUploadAnswer", DIFY_UPLOADED)
DocumentUploadAnswer = answer("DocumentUploadAnswer", [UPLOADED_DOCUMENT])
DocumentListAnswer = answer(
    "DocumentListAnswer", {"docs": [{**DOCUMENT_ROW, "locked_until": OrNull(1754889705)}], "total": 2}
)
DocumentSaveAnswer = answer("DocumentSaveAnswer", SAVED_FILE, message="文档已成功下载到: …")
DocumentRemoveAnswer = answer("DocumentRemoveAnswer", "", message="Delete DB successful!")
DocumentSwitchAnswer = answer("DocumentSwitchAnswer", "", message="Document disable successful!")
DocumentStatusAnswer = answer(
    "DocumentStatusAnswer",
    {"data": [INDEXING_STATUS]},
    info="request document status successful!",
    status_code=0,
)
