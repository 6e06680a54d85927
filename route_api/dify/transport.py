"""The one way to Dify: a connection pool, timeouts on every call, every failure one of a few errors.

Requests are prepared by hand and handed to requests' adapter directly: no redirect is followed, no cookie
kept and no proxy or netrc of the environment used. It also saves a third of the CPU time of
`requests.Session`.
"""

from time import perf_counter
from types import TracebackType
from typing import IO, Any, Mapping, Self
from urllib.parse import urlencode

import orjson
import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util.retry import Retry

from ..errors import DifyError, DifyFailed, DifyTimeout, DifyUnreachable
from ..monitoring import metrics, tracing
from .connection import POOL_CLASSES
from .credentials import Credential
from .error_answers import refusal

NETWORK_ERRORS = (HTTPError, OSError)
"""What urllib3, requests (whose errors are OSErrors) and sockets raise when the network fails us."""

TOO_LATE = "Dify did not answer in time."


def network_error(error: Exception) -> DifyError:
    """Our error for one of :data:`NETWORK_ERRORS`."""
    if isinstance(error, (requests.ReadTimeout, ReadTimeoutError)):
        return DifyTimeout(TOO_LATE)
    return DifyUnreachable("Dify cannot be reached, or broke the connection.")


class _RetryGet(Retry):
    """One more try for a GET whose connection failed. A read timeout is no such failure: asking again would
    take as long again. An upload or a chat is never sent twice."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if error is not None and (method != "GET" or isinstance(error, ReadTimeoutError)):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


class _DifyAdapter(HTTPAdapter):
    """requests' adapter, for requests that nearly all go to one server without a proxy: its pool and the path are known
    and need not be worked out from the URL each time."""

    def __init__(self, base_url: str, **options: Any) -> None:
        super().__init__(**options)
        self.poolmanager.pool_classes_by_scheme = POOL_CLASSES
        self._base_url = base_url
        self._pool: ConnectionPool | None = None

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> ConnectionPool:
        if not (request.url or "").startswith(self._base_url + "/"):
            return super().get_connection_with_tls_context(request, *args, **options)
        if self._pool is None:
            self._pool = super().get_connection_with_tls_context(request, *args, **options)
        return self._pool

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        url = request.url or ""
        parts = url.split("/", 3)
        return "/" + parts[3] if len(parts) == 4 else super().request_url(request, proxies)

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """What we read of an answer. The cookies of every answer would be looked for; only a login's matter."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = resp.headers  # As blind to case as requests' own.
        response.raw = resp
        response.url = req.url or ""
        response.request = req
        return response


class Transport:
    """Sends requests to one Dify server; shared by all threads of a process."""

    def __init__(self, base_url: str, *, connect_timeout: float, read_timeout: float, pool_size: int = 2000) -> None:
        """
        :param base_url: address of the server, without `/v1`.
        :param connect_timeout: seconds to wait for a connection.
        :param read_timeout: seconds to wait for the next bytes of an answer, where a call does not say
            otherwise.
        :param pool_size: how many idle connections are kept.
        """
        self.base_url = base_url.rstrip("/")
        self.dify_version: str | None = None
        """Dify's version, from the X-Version header of its latest answer; None before the first one."""
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        # One retry, for a connection that Dify closed while it lay idle in the pool (contract README 31).
        retry = _RetryGet(total=1, redirect=0, status=0, other=0, respect_retry_after_header=False)
        self._adapter = _DifyAdapter(self.base_url, pool_maxsize=pool_size, max_retries=retry)

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Make a call and return the decoded JSON of its answer; None where the answer is empty or says 204.

        Arguments and errors are those of :meth:`open`.
        """
        with self.open(method, path, **options) as response:
            return read_json(response)

    def open(self, method: str, path: str, *, auth: Credential | None = None, **options: Any) -> requests.Response:
        """Make a call and return its answer with the body still unread. The caller must close it.

        :param path: from the root of the server, such as `/v1/datasets`. Other arguments: see :meth:`send`.
        :raises DifyError: one of its subclasses, for anything but a 2xx.
        """
        response = self.send(method, self.base_url + path, auth=auth, **options)
        return expect_success(response, auth.setting if auth else "DIFY_BASE_URL")

    def send(
        self,
        method: str,
        url: str,
        *,
        auth: Credential | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        data: IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        read_timeout: float | None = None,
    ) -> requests.Response:
        """Send one request and return the answer, whatever its status. The caller must close it.

        :param params: query; a list gives the parameter several times, None leaves it out.
        :param json: a body to be sent as JSON; or else
        :param data: a body to be streamed, with its Content-Type and, if known, Content-Length in `headers`.
        :param read_timeout: seconds to wait for the next bytes of the answer.
        :raises DifyUnreachable: no connection, or it broke.
        :raises DifyTimeout: no answer in time.
        """
        request = requests.PreparedRequest()
        request.method = method
        request.url = url
        if params:
            query = {name: value for name, value in params.items() if value is not None}
            request.url += "?" + urlencode(query, doseq=True)
        request.headers = {"User-Agent": "route-api", **(headers or {})}  # type: ignore[assignment]
        if json is not None:
            request.body = orjson.dumps(json)
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(request.body))
        elif data is not None:
            request.body = data  # type: ignore[assignment]  # The type leaves out files, which can be sent.
        if auth is not None:
            auth(request)
        # urllib3 holds every write of a body to the connect timeout, and a busy Dify may stall an upload.
        connect_timeout = self._connect_timeout if data is None else self._read_timeout
        timeout = (connect_timeout, read_timeout or self._read_timeout)
        response = self._counted(request, timeout)
        self.dify_version = response.headers.get("X-Version") or self.dify_version
        return response

    def _counted(self, request: requests.PreparedRequest, timeout: tuple[float, float]) -> requests.Response:
        """Send it, and count what became of it."""
        sent_at = perf_counter()
        outcome = "failed"
        try:
            response = self._sent(request, timeout)
            outcome = _outcome(response.status_code)
        except DifyError as error:
            outcome = "timeout" if isinstance(error, DifyTimeout) else "unreachable"
            raise
        finally:
            metrics.count_dify_call(outcome, perf_counter() - sent_at)
        return response

    def _sent(self, request: requests.PreparedRequest, timeout: tuple[float, float]) -> requests.Response:
        """Send it under the id of the request of ours that it serves."""
        trace, sent_at = tracing.current(), perf_counter()
        if trace.request_id:
            request.headers["X-Request-Id"] = trace.request_id
        trace.dify_calls += 1
        try:
            return self._adapter.send(request, stream=True, timeout=timeout, verify=True, proxies={})
        except NETWORK_ERRORS as error:
            raise network_error(error) from error
        finally:
            trace.waited_since(sent_at)

    def ping(self) -> None:
        """Ask for nothing, which needs no key: a 404 of Dify's is a good answer (general/service-index). The call is in
        no metric, where it would look like a refusal.

        :raises DifyUnreachable: no connection, or it broke.
        :raises DifyTimeout: no answer in time.
        :raises DifyFailed: an error of Dify's or of a proxy whose Dify is away, or an answer of something else.
        """
        request = requests.PreparedRequest()
        request.method, request.url = "GET", self.base_url + "/v1/"
        request.headers = {"User-Agent": "route-api"}  # type: ignore[assignment]
        with self._sent(request, (self._connect_timeout, self._read_timeout)) as response:
            read_body(response)
        if _outcome(response.status_code) == "failed":
            raise DifyFailed("Dify answers with an error.", dify_status=response.status_code)
        if "X-Version" not in response.headers:
            text = "What answers is not Dify. The operator should check that DIFY_BASE_URL is Dify's API."
            raise DifyFailed(text, dify_status=response.status_code)

    def server_version(self) -> str | None:
        """Dify's version, asked for if no answer has shown it yet; None if the server does not tell.

        Every answer under /v1 has it, a 404 too, and needs no key for that (general/service-index).
        """
        if self.dify_version is None:
            self.send("GET", self.base_url + "/v1/").close()
        return self.dify_version


def _outcome(status: int) -> str:
    """The name under which an answer is counted."""
    if 200 <= status < 300:
        return "ok"
    return "refused" if 400 <= status < 500 else "failed"


def expect_success(response: requests.Response, setting: str = "DIFY_BASE_URL") -> requests.Response:
    """The answer itself, if it is a 2xx.

    :param setting: name of the setting that the operator should check if Dify refused our credential.
    :raises DifyError: one of its subclasses, for any other status.
    """
    if 200 <= response.status_code < 300:
        return response
    with response:
        raise refusal(response.status_code, read_body(response), setting)


def read_body(response: requests.Response) -> bytes:
    """The whole body.

    :raises DifyUnreachable: the connection broke before its end.
    :raises DifyTimeout: the rest did not come in time.
    """
    asked_at = perf_counter()
    try:
        body: bytes = response.raw.read(decode_content=True)
    except NETWORK_ERRORS as error:
        raise network_error(error) from error
    finally:
        tracing.current().waited_since(asked_at)
    return body


def read_json(response: requests.Response) -> Any:
    """The decoded body of a success; None where it is empty or the number 204 (contract README, 6).

    :raises DifyFailed: it is no JSON.
    """
    body = read_body(response)
    if not body or body.strip() == b"204":
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        text = "Dify's answer cannot be read. The operator should check that DIFY_BASE_URL is Dify's API."
        raise DifyFailed(text, dify_status=response.status_code) from error
