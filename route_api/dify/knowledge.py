"""Dify's service API for knowledge bases: datasets, documents and segments. Each method is one call, in Dify's words.

The callers check that ids are UUIDs: Dify answers any other id with an HTML page.
"""

import time
from collections.abc import Iterator
from typing import IO, Any, Callable

from ..errors import DifyError, DifyRejected
from . import shapes
from .credentials import Credential
from .decoder import Kind
from .document_form import RawAnswer, document_form
from .error_answers import error_from_response, is_safe_to_show
from .file_names import REFUSAL, SpecialNames
from .retries import accept_repeated_deletion, retry_while_indexing
from .separators import Separators
from .transport import Transport, read_body, read_error_body

Json = dict[str, Any]


class KnowledgeApi:
    """The calls that a dataset key allows. Every method may raise any :class:`DifyError`.

    A list has at most 100 entries, also for a larger `limit`; `has_more` is wrong then (tests/contract/README.md, 8).
    """

    def __init__(
        self,
        transport: Transport,
        auth: Credential,
        *,
        upload_timeout: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        :param upload_timeout: seconds that Dify may take to answer after it has the whole file.
        """
        self._transport = transport
        self._auth = auth
        self._upload_timeout = upload_timeout
        self._sleep = sleep
        self._special_names = SpecialNames()
        self._separators = Separators()

    def takes_special_names(self) -> bool | None:
        """Whether this Dify takes file names with one of `file_names.SPECIAL`; None if that is not known yet."""
        return self._special_names.are_taken(self._transport.server_version())

    def list_datasets(self, page: int, limit: int, keyword: str | None = None) -> Json:
        return self._get("/v1/datasets", shapes.DATASETS, page=page, limit=limit, keyword=keyword)

    def get_dataset(self, dataset_id: str) -> Json:
        return self._get(f"/v1/datasets/{dataset_id}", shapes.DATASET)

    def create_dataset(self, body: Json) -> Json:
        return self._send("POST", "/v1/datasets", body, shapes.DATASET)

    def update_dataset(self, dataset_id: str, body: Json) -> Json:
        """Send `body` as it is. 1.8.1 deletes a retrieval_model that is left out, so merge first
        (tests/contract/FINDINGS.md, c)."""
        return self._send("PATCH", f"/v1/datasets/{dataset_id}", body, shapes.DATASET)

    def delete_dataset(self, dataset_id: str) -> None:
        with accept_repeated_deletion():
            self._send("DELETE", f"/v1/datasets/{dataset_id}")

    def retrieve(self, dataset_id: str, query: str, retrieval_model: Json | None = None) -> Json:
        """
        :param query: 1 to 250 characters.
        :param retrieval_model: all of it: without `reranking_enable` or `score_threshold_enabled` Dify fails
            (tests/contract/README.md, 12). With None Dify uses the dataset's own.
        """
        body: Json = {"query": query}
        if retrieval_model is not None:
            body["retrieval_model"] = retrieval_model
        return self._send("POST", f"/v1/datasets/{dataset_id}/retrieve", body, shapes.RECORDS)

    def enable_built_in_metadata(self, dataset_id: str) -> None:
        """Let searches filter on `document_name` and the like, for present and future documents
        (tests/contract/FINDINGS.md, e)."""
        self._send("POST", f"/v1/datasets/{dataset_id}/metadata/built-in/enable")

    def create_document_by_file(
        self,
        dataset_id: str,
        filename: str,
        content_type: str,
        stream: IO[bytes],
        size: int,
        data: Json,
    ) -> Json:
        """Upload a file. Dify overwrites an enabled document of the same name (tests/contract/README.md, 13).

        With a separator outside ASCII there may be one more call, which reads the segments of an earlier upload.

        :param size: bytes in `stream`, from its present position.
        :param data: `indexing_technique`, `process_rule` and so on, with unescaped separators.
        :raises EOFError: `stream` has fewer than `size` bytes.
        :raises DifyRejected: with the message `file_names.REFUSAL`: Dify does not take a character of the name.
        """
        version = self._transport.server_version()
        self._separators.learn(data, self._first_contents)
        form = document_form(filename, content_type, stream, size, self._separators.write(data, version))
        try:
            document: Json = self._transport.request(
                "POST",
                f"/v1/datasets/{dataset_id}/document/create-by-file",
                shape=shapes.CREATED_DOCUMENT,
                auth=self._auth,
                data=form,
                headers={"Content-Type": form.content_type, "Content-Length": str(form.len)},
                read_timeout=self._upload_timeout,
            )
        except DifyRejected as error:
            if error.message == REFUSAL:
                self._special_names.note(version, filename, was_taken=False)
            raise
        self._special_names.note(version, filename, was_taken=True)
        self._separators.remember(data, version, dataset_id, document["document"]["id"])
        return document

    def _first_contents(self, dataset_id: str, document_id: str) -> list[str]:
        """The contents of a document's first segments; none if they cannot be read."""
        try:
            segments = self.list_segments(dataset_id, document_id, 1, 20)["data"]
        except DifyError:  # For example, the document was deleted since.
            return []
        return [segment["content"] for segment in segments]

    def create_document_raw(
        self, dataset_id: str, filename: str | None, content_type: str, body: Iterator[bytes]
    ) -> RawAnswer:
        """Send a create-by-file form that is complete already. Its size is not known, so it is sent in chunks
        (tests/contract, documents/create-by-file-chunked-transfer).

        :param filename: the name of the file in the form; None if it has no file.
        :param body: pieces of the form, none of them empty. If it raises an error, the connection is closed, and Dify
            has an incomplete form, which it does not store.
        :returns: Dify's own answer: a success, or an error whose text is safe to show.
        :raises DifyRejected: with the message `file_names.REFUSAL`, as in :meth:`create_document_by_file`.
        :raises DifyError: one of its subclasses, where Dify failed, or the text of its error is not safe to show.
        """
        with self._transport.send(
            "POST",
            f"{self._transport.base_url}/v1/datasets/{dataset_id}/document/create-by-file",
            auth=self._auth,
            data=body,
            headers={"Content-Type": content_type},
            read_timeout=self._upload_timeout,
        ) as response:
            status, answer_headers = response.status_code, response.headers
            is_success = 200 <= status < 300
            answer = read_body(response, self._transport.max_answer_size) if is_success else read_error_body(response)
        if not is_safe_to_show(status, answer) or not is_success and REFUSAL.encode() in answer:
            error = error_from_response(status, answer, self._auth.setting, answer_headers.get("Retry-After"))
            if error.message == REFUSAL:
                self._special_names.note(self._transport.dify_version, filename or "", was_taken=False)
            raise error
        if is_success:
            self._special_names.note(self._transport.dify_version, filename or "", was_taken=True)
        return RawAnswer(status, answer_headers.get("Content-Type", ""), answer)

    def list_documents(self, dataset_id: str, page: int, limit: int, keyword: str | None = None) -> Json:
        return self._get(
            f"/v1/datasets/{dataset_id}/documents", shapes.DOCUMENTS, page=page, limit=limit, keyword=keyword
        )

    def get_document(self, dataset_id: str, document_id: str) -> Json:
        return self._get(f"/v1/datasets/{dataset_id}/documents/{document_id}", shapes.DOCUMENT)

    def delete_document(self, dataset_id: str, document_id: str) -> None:
        with accept_repeated_deletion():
            self._send("DELETE", f"/v1/datasets/{dataset_id}/documents/{document_id}")

    def set_document_status(self, dataset_id: str, action: str, document_ids: list[str]) -> None:
        """Switch documents. Dify ignores unknown ids and answers success. Waits while Dify is still indexing.

        :param action: enable, disable, archive or un_archive.
        """
        path = f"/v1/datasets/{dataset_id}/documents/status/{action}"
        retry_while_indexing(lambda: self._send("PATCH", path, {"document_ids": document_ids}), self._sleep)

    def indexing_status(self, dataset_id: str, batch: str) -> Json:
        return self._get(f"/v1/datasets/{dataset_id}/documents/{batch}/indexing-status", shapes.INDEXING_STATUS)

    def document_download(self, dataset_id: str, document_id: str) -> Json:
        """The `url` of the original file. Only versions after 1.12.1 have this route."""
        return self._get(f"/v1/datasets/{dataset_id}/documents/{document_id}/download", shapes.FILE)

    def upload_file(self, dataset_id: str, document_id: str) -> Json:
        """The original file: name, size, type, addresses. Not in 1.12.1 (tests/contract/DIFFERENCES.md, 33)."""
        return self._get(f"/v1/datasets/{dataset_id}/documents/{document_id}/upload-file", shapes.FILE)

    def list_segments(
        self,
        dataset_id: str,
        document_id: str,
        page: int,
        limit: int,
        keyword: str | None = None,
        status: str | None = None,
    ) -> Json:
        path = f"/v1/datasets/{dataset_id}/documents/{document_id}/segments"
        return self._get(path, shapes.SEGMENTS, page=page, limit=limit, keyword=keyword, status=status)

    def segment_status(self, dataset_id: str, document_id: str, segment_id: str) -> str:
        """
        :returns: `completed`, `error`, or what Dify still does with the segment; empty if Dify does not tell
        """
        path = f"/v1/datasets/{dataset_id}/documents/{document_id}/segments/{segment_id}"
        segment = self._get(path, shapes.SEGMENT_DETAIL).get("data") or {}
        return segment.get("status") or ""

    def update_segment(self, dataset_id: str, document_id: str, segment_id: str, segment: Json) -> Any:
        """Change `content`, `answer`, `keywords` or `enabled`. Waits while Dify is still indexing."""
        path = f"/v1/datasets/{dataset_id}/documents/{document_id}/segments/{segment_id}"
        return retry_while_indexing(lambda: self._send("POST", path, {"segment": segment}), self._sleep)

    def list_models(self, model_type: str) -> Json:
        """
        :param model_type: llm, text-embedding, rerank, tts or speech2text.
        """
        return self._get(f"/v1/workspaces/current/models/model-types/{model_type}", shapes.MODELS)

    def _get(self, path: str, shape: Kind | None, **params: Any) -> Json:
        answer: Json = self._transport.request("GET", path, shape=shape, auth=self._auth, params=params)
        return answer

    def _send(self, method: str, path: str, body: Json | None = None, shape: Kind | None = None) -> Any:
        return self._transport.request(method, path, shape=shape, auth=self._auth, json=body)
