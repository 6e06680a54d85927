"""What only Dify's console can do, with an admin's login."""

import time
from functools import partial
from typing import Any, Callable

from ..errors import DifyAuthFailed
from .login import ConsoleLogin
from .patience import when_indexed
from .transport import Transport

Json = dict[str, Any]

SEGMENTS_IN_A_CALL = 50
"""Their ids go into the query, and gunicorn in front of Dify takes no more than 4,094 characters of it."""


class ConsoleApi:
    """Calls of the console. Each may raise any :class:`DifyError`, :class:`ConsoleNotConfigured` and
    :class:`ConsoleLoginRefused` among them."""

    def __init__(
        self, transport: Transport, login: ConsoleLogin, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._transport = transport
        self._login = login
        self._sleep = sleep

    def set_default_model(self, model_type: str, provider: str, model: str) -> None:
        """Set the workspace's default model of one type. Dify skips a missing provider with success."""
        setting = {"model_type": model_type, "provider": provider, "model": model}
        body = {"model_settings": [setting]}
        self._request("POST", "/console/api/workspaces/current/default-model", json=body)

    def list_documents(self, dataset_id: str, page: int, limit: int, keyword: str | None = None) -> Json:
        """A page of documents with `completed_segments` and `total_segments`, which the service API lacks."""
        params = {"page": page, "limit": limit, "keyword": keyword, "fetch": "true"}
        documents: Json = self._request("GET", f"/console/api/datasets/{dataset_id}/documents", params=params)
        return documents

    def upload_limits(self) -> Json:
        """The server's limits; `file_size_limit` is that of a document, in MB (documents/console-upload-limits)."""
        limits: Json = self._request("GET", "/console/api/files/upload")
        return limits

    def switch_segments(self, dataset_id: str, document_id: str, action: str, segment_ids: list[str]) -> None:
        """Switch segments, many in one call; unknown ids and actions are skipped with success. Waits for a busy
        indexing worker.

        :param action: enable or disable.
        """
        path = f"/console/api/datasets/{dataset_id}/documents/{document_id}/segment/{action}"
        for first in range(0, len(segment_ids), SEGMENTS_IN_A_CALL):
            ids = segment_ids[first : first + SEGMENTS_IN_A_CALL]
            when_indexed(partial(self._request, "PATCH", path, params={"segment_id": ids}), self._sleep)

    def document_download(self, dataset_id: str, document_id: str) -> Json:
        """`url` of the original file, signed (DIFFERENCES 33)."""
        path = f"/console/api/datasets/{dataset_id}/documents/{document_id}/download"
        download: Json = self._request("GET", path)
        return download

    def _request(self, method: str, path: str, **options: Any) -> Any:
        session = self._login.session()
        try:
            return self._transport.request(method, path, auth=session, **options)
        except DifyAuthFailed:  # Nothing was done, so that this may be sent again whatever the method.
            return self._transport.request(method, path, auth=self._login.renew(session), **options)
