"""The one way to Dify: each call has timeouts, is counted, and fails with one of a few errors."""

from time import perf_counter
from typing import IO, Any, Mapping

import orjson
import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from ..errors import DifyError, DifyFailed, DifyTimeout, DifyUnreachable
from ..monitoring import metrics, tracing
from .connections import shutdown_of
from .credentials import Credential
from .error_answers import error_from_response
from .session import DifySession

NETWORK_ERRORS = (HTTPError, OSError)
"""The errors that urllib3, requests (whose errors are OSErrors) and sockets raise when the network fails."""

TOO_LATE = "Dify did not answer in time."
BROKEN = "Dify cannot be reached, or broke the connection."


def network_error(error: Exception) -> DifyError:
    """Our error for one of :data:`NETWORK_ERRORS`."""
    if isinstance(error, (requests.ReadTimeout, ReadTimeoutError)):
        return DifyTimeout(TOO_LATE)
    return DifyUnreachable(BROKEN)


class Transport:
    """Sends requests to one Dify server. All threads of a process share it.

    A call that :meth:`Trace.interrupt` ends raises :class:`DifyUnreachable`. `retries.py` lists the requests that are
    sent twice.
    """

    def __init__(self, base_url: str, *, connect_timeout: float, read_timeout: float, pool_size: int) -> None:
        """
        :param base_url: address of the server, without `/v1`.
        :param connect_timeout: seconds to wait for a connection.
        :param read_timeout: seconds to wait for the next bytes of an answer, for calls without a `read_timeout` of
            their own.
        :param pool_size: how many idle connections are kept.
        """
        self.base_url = base_url.rstrip("/")
        self.session = DifySession(self.base_url, pool_size=pool_size)
        self.dify_version: str | None = None
        """Dify's version, from the X-Version header of its latest answer; None before the first answer."""
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Make a call and read its answer. Arguments and errors are those of :meth:`open`.

        :returns: the decoded JSON; None where the answer is empty or says 204.
        """
        with self.open(method, path, **options) as response:
            return read_json(response)

    def open(self, method: str, path: str, *, auth: Credential | None = None, **options: Any) -> requests.Response:
        """Make a call.

        :param path: from the root of the server, such as `/v1/datasets`. The other arguments are those of :meth:`send`.
        :returns: the answer with its body still unread. The caller must close it.
        :raises DifyError: one of its subclasses, for every status but 2xx.
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
        """Send a request, and count its outcome.

        :param params: the query. A list gives the parameter several times; None leaves the parameter out.
        :param json: a body to send as JSON; or else
        :param data: a body to stream, with its Content-Type and, if known, its Content-Length in `headers`.
        :param read_timeout: seconds to wait for the next bytes of the answer.
        :returns: the answer, whatever its status, with its body still unread. The caller must close it.
        :raises DifyUnreachable: there is no connection, or it broke, or the request was interrupted.
        :raises DifyTimeout: no answer came in time.
        """
        if tracing.current().is_interrupted:
            raise DifyUnreachable(BROKEN)
        # While a body is sent, urllib3 applies the connect timeout to each write. A busy Dify may stall an upload.
        connect_timeout = self._connect_timeout if data is None else self._read_timeout
        timeout = (connect_timeout, read_timeout or self._read_timeout)
        sent_at = perf_counter()
        outcome = "failed"
        try:
            response = self._send(method, url, timeout, headers, auth=auth, params=params, json=json, data=data)
            outcome = _outcome(response.status_code)
        except DifyError as error:
            outcome = "timeout" if isinstance(error, DifyTimeout) else "unreachable"
            raise
        finally:
            metrics.count_dify_call(outcome, perf_counter() - sent_at)
        self.dify_version = response.headers.get("X-Version") or self.dify_version
        return response

    def _send(
        self,
        method: str,
        url: str,
        timeout: tuple[float, float],
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> requests.Response:
        """Send a request with the id of our own request that it serves, and add the wait to the trace of that."""
        trace, sent_at = tracing.current(), perf_counter()
        if trace.request_id:
            headers = {**(headers or {}), "X-Request-Id": trace.request_id}
        trace.dify_calls += 1
        try:
            return self.session.request(method, url, headers=headers, timeout=timeout, **content)
        except NETWORK_ERRORS as error:
            raise network_error(error) from error
        finally:
            trace.waited_since(sent_at)

    def ping(self) -> None:
        """Ask whether Dify answers. This needs no key: Dify's 404 is a good answer (tests/contract,
        general/service-index). The call is in no metric, because it would count as refused there.

        :raises DifyUnreachable: there is no connection, or it broke.
        :raises DifyTimeout: no answer came in time.
        :raises DifyFailed: Dify answers with an error, or a proxy whose Dify is away, or another program.
        """
        with self._send("GET", self.base_url + "/v1/", (self._connect_timeout, self._read_timeout)) as response:
            read_body(response)
        if _outcome(response.status_code) == "failed":
            raise DifyFailed("Dify answers with an error.", dify_status=response.status_code)
        if "X-Version" not in response.headers:
            text = "What answers is not Dify. The operator should check that DIFY_BASE_URL is Dify's API."
            raise DifyFailed(text, dify_status=response.status_code)

    def server_version(self) -> str | None:
        """Dify's version. Dify is asked for it if no answer has shown it yet.

        Every answer under /v1 has the version, a 404 too, and needs no key for that (tests/contract,
        general/service-index).

        :returns: None if the server does not tell.
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
    """Check that an answer is a 2xx.

    :param setting: name of the setting that the operator should check if Dify refused our credential.
    :returns: the answer itself.
    :raises DifyError: one of its subclasses, for every other status.
    """
    if 200 <= response.status_code < 300:
        return response
    with response:
        raise error_from_response(response.status_code, read_body(response), setting)


def read_body(response: requests.Response) -> bytes:
    """Read the whole body.

    :raises DifyUnreachable: the connection broke before the end, or the request was interrupted.
    :raises DifyTimeout: the rest did not come in time.
    """
    trace, asked_at = tracing.current(), perf_counter()
    try:
        with trace.interruptible(shutdown_of(response)):
            body: bytes = response.raw.read(decode_content=True)
    except NETWORK_ERRORS as error:
        raise network_error(error) from error
    finally:
        trace.waited_since(asked_at)
    return body


def read_json(response: requests.Response) -> Any:
    """Read and decode the body of a success.

    :returns: None where the body is empty or the number 204 (tests/contract/README.md, 6).
    :raises DifyFailed: the body is no JSON.
    """
    body = read_body(response)
    if not body or body.strip() == b"204":
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        text = "Dify's answer cannot be read. The operator should check that DIFY_BASE_URL is Dify's API."
        raise DifyFailed(text, dify_status=response.status_code) from error
