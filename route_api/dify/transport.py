"""Sends all requests to Dify, with timeouts and metrics. If a request fails, it raises a :class:`DifyError`."""

from collections.abc import Iterator
from functools import partial
from io import BytesIO
from time import perf_counter
from typing import IO, Any, Mapping

import orjson
import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from ..errors import DifyError, DifyFailed, DifyTimeout, DifyUnreachable, DifyUnreadable
from ..languages import Sentence
from ..monitoring import metrics, spans, tracing
from .breaker import OUTAGE_STATUSES, STOP, Breaker, Call, kind_of
from .connections import shutdown_of
from .credentials import Credential
from .decoder import Kind, fit
from .error_answers import error_from_response
from .json_text import decode
from .session import DifySession

NETWORK_ERRORS = (HTTPError, OSError)
"""The errors of urllib3, requests and sockets when the network fails. The errors of requests are OSErrors."""

READ_SIZE = 64 * 1024
"""The number of bytes that are read at a time. urllib3 decodes a compressed body in pieces of this size too."""

MAX_ANSWER_SIZE = 32 * 1024 * 1024
"""In bytes. A page of 100 chunks with the most that Dify puts into a chunk has less than 10 MB."""

MAX_ERROR_SIZE = 64 * 1024
"""In bytes: the largest body that is read if the answer is an error, or one that is always small. Dify's errors have a
few hundred bytes."""

TIMEOUT_TEXT = Sentence("Dify did not answer in time.")
UNREACHABLE_TEXT = Sentence("Dify cannot be reached, or broke the connection.")


def network_error(error: Exception, timeout_text: Sentence = TIMEOUT_TEXT) -> DifyError:
    """Convert one of :data:`NETWORK_ERRORS` to an error of ours."""
    if isinstance(error, (requests.ReadTimeout, ReadTimeoutError)):
        return DifyTimeout(timeout_text)
    return DifyUnreachable(UNREACHABLE_TEXT)


class Transport:
    """Sends requests to one Dify server. All threads of a process share it.

    :meth:`send` returns an answer with any status. :meth:`open` returns an unread answer with a 2xx status.
    :meth:`request` returns the JSON of such an answer. Most callers need :meth:`request`.

    If :meth:`Trace.interrupt` ends a call, the call raises :class:`DifyUnreachable`. `retries.py` lists the requests
    that are sent twice.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout: float,
        read_timeout: float,
        pool_size: int,
        breaker: Breaker | None = None,
        max_answer_size: int = MAX_ANSWER_SIZE,
    ) -> None:
        """
        :param base_url: address of the server, without `/v1`.
        :param connect_timeout: seconds to wait for a connection; for a request that streams a body, `read_timeout` is
            used instead.
        :param read_timeout: seconds to wait for the next bytes of an answer. A call may set another value.
        :param pool_size: how many idle connections are kept.
        :param breaker: refuses calls while Dify is away; None: every call is sent.
        :param max_answer_size: bytes of the largest answer that is read as a whole, decoded if it is compressed.
        """
        self.base_url = base_url.rstrip("/")
        self.max_answer_size = max_answer_size
        self.session = DifySession(self.base_url, pool_size=pool_size)
        self.dify_version: str | None = None
        """Dify's version, from the X-Version header of its latest answer; None before the first answer."""
        self.breaker = breaker
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout

    def request(self, method: str, path: str, *, shape: Kind | None = None, **options: Any) -> Any:
        """Make a call and read its answer. The other arguments and errors are those of :meth:`open`.

        :param shape: the form that the answer must have, from `shapes.py`; None if nobody reads the answer
        :returns: the decoded JSON; None if the body is empty or is the number 204.
        :raises DifyUnreadable: if the answer has another form.
        """
        with self.open(method, path, **options) as response:
            return read_json(response, self.max_answer_size, f"{method} {path}", shape)

    def open(self, method: str, path: str, *, auth: Credential | None = None, **options: Any) -> requests.Response:
        """Make a call and check the status of its answer.

        :param path: from the root of the server, such as `/v1/datasets`. The other arguments are those of :meth:`send`.
        :returns: the answer with an unread body. The caller must close the answer.
        :raises DifyError: a subclass for each failure, also for each status other than 2xx.
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
        data: IO[bytes] | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        read_timeout: float | None = None,
    ) -> requests.Response:
        """Send a request, and count its outcome in the metrics.

        :param params: the query. A list sends the parameter several times; None leaves the parameter out.
        :param json: a body to send as JSON. Use either `json` or `data`.
        :param data: a body to stream: a file, or pieces. `headers` must have its Content-Type and, if known, its
            Content-Length.
        :param read_timeout: seconds to wait for the next bytes of the answer.
        :returns: the answer with any status and an unread body. The caller must close the answer.
        :raises DifyUnreachable: there is no connection, or it broke, or the request was interrupted.
        :raises DifyTimeout: no answer came in time.
        :raises DifyCircuitOpen: the request was not sent, because Dify is away.
        :raises TooManyDifyCalls: the request was not sent, because too many are running.
        :raises DifyFailed: the answer is compressed more than once.
        """
        if tracing.current().is_interrupted:
            raise DifyUnreachable(UNREACHABLE_TEXT)
        # While a body is sent, urllib3 applies the connect timeout to each write. A busy Dify may read an upload
        # slowly, so the connect timeout would be too short.
        connect_timeout = self._connect_timeout if data is None else self._read_timeout
        timeout = (connect_timeout, read_timeout or self._read_timeout)
        call = self._let_through(method, url)
        sent_at = perf_counter()
        outcome, response = "failed", None
        headers = dict(headers or {})
        span = spans.begin_call(tracing.current().span, method, url, headers)
        try:
            content = {"auth": auth, "params": params, "json": json, "data": data}
            response = self._send_uncounted(method, url, timeout, headers, **content)
            outcome = _outcome(response.status_code)
        except DifyError as error:
            outcome = "timeout" if isinstance(error, DifyTimeout) else "unreachable"
            # A connection that broke during an upload may be the caller's: we read it while we write to Dify.
            if call and not tracing.current().is_interrupted and (data is None or outcome == "timeout"):
                call.failed()
            raise
        finally:
            metrics.count_dify_call(outcome, perf_counter() - sent_at)
            if response is None:
                spans.end(span, None, outcome, is_failure=True)
                if call:
                    call.end()
        if call or span:
            end = partial(_end_call, call, span, response.status_code)
            response.on_close = end  # type: ignore[attr-defined]  # It is a DifyResponse.
        if call:
            is_outage = response.status_code in OUTAGE_STATUSES and "X-Version" not in response.headers
            call.failed() if is_outage else call.succeeded()
        self.dify_version = response.headers.get("X-Version") or self.dify_version
        return response

    def _let_through(self, method: str, url: str) -> Call | None:
        """Ask the breaker.

        :returns: None if the breaker need not know the outcome of the call
        """
        if self.breaker is None:
            return None
        kind = kind_of(method, url.removeprefix(self.base_url))
        if kind != STOP:
            return self.breaker.begin(kind)
        self.breaker.check_pings()
        return None

    def _send_uncounted(
        self,
        method: str,
        url: str,
        timeout: tuple[float, float],
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> requests.Response:
        """Send a request with the current X-Request-Id, and add the wait for its answer to the trace."""
        trace, sent_at = tracing.current(), perf_counter()
        if trace.request_id:
            headers = {**(headers or {}), "X-Request-Id": trace.request_id}
        trace.dify_calls += 1
        try:
            response = self.session.request(method, url, headers=headers, timeout=timeout, **content)
        except NETWORK_ERRORS as error:
            raise network_error(error) from error
        finally:
            trace.waited_since(sent_at)
        if "," in response.headers.get("Content-Encoding", ""):
            # No server needs this, and urllib3 keeps all that the first decoder gives until the second one takes it.
            response.close()
            text = Sentence(
                "Dify's answer is compressed more than once. The operator should look at the proxy in front of" " Dify."
            )
            raise DifyFailed(text, dify_status=response.status_code)
        return response

    def ping(self) -> None:
        """Check whether Dify answers.

        The call sends no key and asks for no resource: a 404 of Dify is enough (tests/contract, general/service-index).
        The metrics do not count this call, because it would count as refused.

        :raises DifyUnreachable: there is no connection, or it broke.
        :raises DifyTimeout: no answer came in time.
        :raises DifyFailed: the answer is a server error, or it comes from another program.
        """
        timeout = (self._connect_timeout, self._read_timeout)
        with self._send_uncounted("GET", self.base_url + "/v1/", timeout) as response:
            _read_up_to(response, MAX_ERROR_SIZE)
        if _outcome(response.status_code) == "failed":
            raise DifyFailed(Sentence("Dify answers with an error."), dify_status=response.status_code)
        if "X-Version" not in response.headers:
            text = Sentence("What answers is not Dify. The operator should check that DIFY_BASE_URL is Dify's API.")
            raise DifyFailed(text, dify_status=response.status_code)

    def server_version(self) -> str | None:
        """Dify's version. If no answer has contained it yet, this makes a call.

        Every answer under /v1 contains the version, also a 404 without a key (tests/contract, general/service-index).

        :returns: the version; None if the server sends no version.
        """
        if self.dify_version is None:
            self.send("GET", self.base_url + "/v1/").close()
        return self.dify_version


def _end_call(call: Call | None, span: Any, status: int) -> None:
    """End a call whose answer is over."""
    if call:
        call.end()
    outcome = _outcome(status)
    spans.end(span, status, None if outcome == "ok" else outcome, is_failure=outcome != "ok")


def _outcome(status: int) -> str:
    """The outcome that the metrics count for a status."""
    if 200 <= status < 300:
        return "ok"
    return "refused" if 400 <= status < 500 else "failed"


def expect_success(response: requests.Response, setting: str = "DIFY_BASE_URL") -> requests.Response:
    """Check that an answer is a 2xx.

    :param setting: the setting that the error message names if Dify refused our credential.
    :returns: the same answer.
    :raises DifyError: one of its subclasses, for every other status.
    """
    if 200 <= response.status_code < 300:
        return response
    with response:
        body = read_error_body(response)
    error = error_from_response(response.status_code, body, setting, response.headers.get("Retry-After"))
    retries = response.raw.retries
    error.was_repeated = bool(retries and retries.history)
    raise error


def read_body(response: requests.Response, max_size: int) -> bytes:
    """Read the whole body. Memory never holds much more than `max_size` of it, also if the body is compressed.

    :param max_size: in bytes, decoded.
    :raises DifyFailed: the body is larger.
    :raises DifyUnreachable: the connection broke before the end, or the request was interrupted.
    :raises DifyTimeout: the next bytes did not come in time.
    """
    body = _read_up_to(response, max_size)
    if body is None:
        text = Sentence(
            "Dify's answer is larger than {max_size:g} MB. The operator may raise DIFY_MAX_ANSWER_MB.",
            max_size=max_size / 1024 / 1024,
        )
        raise DifyFailed(text, dify_status=response.status_code)
    return body


def read_error_body(response: requests.Response) -> bytes:
    """Read the body of an error. Errors are those of :meth:`read_body`, without the one for its size.

    :returns: the body; empty if it is larger than MAX_ERROR_SIZE. What is so large is no message of Dify's.
    """
    return _read_up_to(response, MAX_ERROR_SIZE) or b""


def _read_up_to(response: requests.Response, max_size: int) -> bytes | None:
    """Read the whole body, or as much of it as shows that it is larger than `max_size`.

    :returns: the body; None if it is larger. The connection is then closed with the answer.
    """
    trace, asked_at = tracing.current(), perf_counter()
    raw, body = response.raw, BytesIO()
    try:
        with trace.interruptible(shutdown_of(response)):
            while piece := raw.read(READ_SIZE, decode_content=True):
                body.write(piece)
                if body.tell() > max_size:
                    return None
    except NETWORK_ERRORS as error:
        raise network_error(error) from error
    finally:
        trace.waited_since(asked_at)
    return body.getvalue()


def read_json(response: requests.Response, max_size: int, source: str, shape: Kind | None) -> Any:
    """Read and decode the body of a 2xx answer.

    :param max_size: in bytes.
    :param source: the request, for the log.
    :param shape: the form that the answer must have; None if nobody reads the answer.
    :returns: the decoded JSON; None if the body is empty or is the number 204 (tests/contract/README.md, 6).
    :raises DifyFailed: the body is larger than `max_size`.
    :raises DifyUnreadable: the body is no JSON, or has another form.
    """
    body = read_body(response, max_size)
    try:
        answer = None if not body or body.strip() == b"204" else decode(body)
    except orjson.JSONDecodeError as error:
        text = Sentence("Dify's answer cannot be read. The operator should check that DIFY_BASE_URL is Dify's API.")
        raise DifyUnreadable(text, dify_status=response.status_code) from error
    return answer if shape is None else fit(answer, shape, source, response.status_code)
