"""Dify's service API for knowledge bases, datasets to segments. One method per call, in Dify's own words.

Ids in paths must be UUIDs; the callers see to that (Dify answers an HTML page to anything else).
"""

import time
from typing import IO, Any, Callable

from .credentials import Credential
from .document_form import RawAnswer, SizedStream, document_form
from .error_answers import may_be_shown, refusal
from .retries import when_indexed
from .separators import escape_separators
from .transport import Transport, read_body

Json = dict[str, Any]


class KnowledgeApi:
    """The calls that a dataset key allows. Every method may raise any :class:`DifyError`.

    Lists give at most 100 entries whatever `limit` says, and `has_more` is wrong then (contract README, 8).
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
        :param upload_timeout: seconds that Dify may take to answer once it has the whole file.
        """
        self._transport = transport
        self._auth = auth
        self._upload_timeout = upload_timeout
        self._sleep = sleep

    def list_datasets(self, page: int, limit: int, keyword: str | None = None) -> Json:
        return self._get("/v1/datasets", page=page, limit=limit, keyword=keyword)

    def get_dataset(self, dataset_id: str) -> Json:
        return self._get(f"/v1/datasets/{dataset_id}")

    def create_dataset(self, body: Json) -> Json:
        return self._send("POST", "/v1/datasets", body)

    def update_dataset(self, dataset_id: str, body: Json) -> Json:
        """Send `body` as it is. 1.8.1 wipes a retrieval_model that is left out: merge first (FINDINGS c)."""
        return self._send("PATCH", f"/v1/datasets/{dataset_id}", body)

    def delete_dataset(self, dataset_id: str) -> None:
        self._send("DELETE", f"/v1/datasets/{dataset_id}")

    def retrieve(self, dataset_id: str, query: str, retrieval_model: Json | None = None) -> Json:
        """
        :param query: 1 to 250 characters.
        :param retrieval_model: whole: without `reranking_enable` or `score_threshold_enabled` Dify fails
            (contract README, 12). None takes the dataset's own.
        """
        body: Json = {"query": query}
        if retrieval_model is not None:
            body["retrieval_model"] = retrieval_model
        return self._send("POST", f"/v1/datasets/{dataset_id}/retrieve", body)

    def enable_built_in_metadata(self, dataset_id: str) -> None:
        """Let `document_name` and the like be filtered on, for documents to come as well (FINDINGS e)."""
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
        """Upload a file. One of the same name is overwritten if it is enabled (contract README, 13).

        :param size: bytes in `stream` from where it stands.
        :param data: `indexing_technique`, `process_rule` and so on; separators as a person writes them.
        :raises EOFError: `stream` is shorter than `size`.
        """
        form = document_form(
            filename, content_type, stream, size, escape_separators(data, self._transport.server_version())
        )
        document: Json = self._transport.request(
            "POST",
            f"/v1/datasets/{dataset_id}/document/create-by-file",
            auth=self._auth,
            data=form,
            headers={"Content-Type": form.content_type, "Content-Length": str(form.len)},
            read_timeout=self._upload_timeout,
        )
        return document

    def create_document_raw(
        self, dataset_id: str, content_type: str, body: IO[bytes], content_length: int | None
    ) -> RawAnswer:
        """Pass a finished create-by-file form on and give back Dify's own answer, a refusal in harmless words too.

        :param content_length: bytes in `body`; None if unknown, then it is sent in chunks.
        :raises DifyError: one of its subclasses, where Dify failed, or its words are not for whoever sent the form.
        :raises EOFError: `body` is shorter than `content_length`.
        """
        headers = {"Content-Type": content_type}
        if content_length is not None:
            headers["Content-Length"] = str(content_length)
        with self._transport.send(
            "POST",
            f"{self._transport.base_url}/v1/datasets/{dataset_id}/document/create-by-file",
            auth=self._auth,
            data=body if content_length is None else SizedStream(body, content_length),  # type: ignore[arg-type]
            headers=headers,
            read_timeout=self._upload_timeout,
        ) as response:
            answer = RawAnswer(response.status_code, response.headers.get("Content-Type", ""), read_body(response))
        if not may_be_shown(answer.status, answer.body):
            raise refusal(answer.status, answer.body, self._auth.setting)
        return answer

    def list_documents(self, dataset_id: str, page: int, limit: int, keyword: str | None = None) -> Json:
        return self._get(f"/v1/datasets/{dataset_id}/documents", page=page, limit=limit, keyword=keyword)

    def get_document(self, dataset_id: str, document_id: str) -> Json:
        return self._get(f"/v1/datasets/{dataset_id}/documents/{document_id}")

    def delete_document(self, dataset_id: str, document_id: str) -> None:
        self._send("DELETE", f"/v1/datasets/{dataset_id}/documents/{document_id}")

    def set_document_status(self, dataset_id: str, action: str, document_ids: list[str]) -> None:
        """Switch documents; unknown ids are skipped with success. Waits for a busy indexing worker.

        :param action: enable, disable, archive or un_archive.
        """
        path = f"/v1/datasets/{dataset_id}/documents/status/{action}"
        when_indexed(lambda: self._send("PATCH", path, {"document_ids": document_ids}), self._sleep)

    def indexing_status(self, dataset_id: str, batch: str) -> Json:
        return self._get(f"/v1/datasets/{dataset_id}/documents/{batch}/indexing-status")

    def document_download(self, dataset_id: str, document_id: str) -> Json:
        """`url` of the original file. Dify newer than 1.12.1 only: others do not know the route."""
        return self._get(f"/v1/datasets/{dataset_id}/documents/{document_id}/download")

    def upload_file(self, dataset_id: str, document_id: str) -> Json:
        """The original file's facts and addresses. Gone in 1.12.1 (DIFFERENCES 33)."""
        return self._get(f"/v1/datasets/{dataset_id}/documents/{document_id}/upload-file")

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
        return self._get(path, page=page, limit=limit, keyword=keyword, status=status)

    def update_segment(self, dataset_id: str, document_id: str, segment_id: str, segment: Json) -> Json:
        """Change `content`, `answer`, `keywords` or `enabled`. Waits for a busy indexing worker."""
        path = f"/v1/datasets/{dataset_id}/documents/{document_id}/segments/{segment_id}"
        updated: Json = when_indexed(lambda: self._send("POST", path, {"segment": segment}), self._sleep)
        return updated

    def list_models(self, model_type: str) -> Json:
        """
        :param model_type: llm, text-embedding, rerank, tts or speech2text.
        """
        return self._get(f"/v1/workspaces/current/models/model-types/{model_type}")

    def _get(self, path: str, **params: Any) -> Json:
        answer: Json = self._transport.request("GET", path, auth=self._auth, params=params)
        return answer

    def _send(self, method: str, path: str, body: Json | None = None) -> Any:
        return self._transport.request(method, path, auth=self._auth, json=body)
