"""Vectors from an OpenAI-compatible server (Ollama, vLLM, a hosted service)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from .embedder import MAX_CHARACTERS, EmbeddingError

if TYPE_CHECKING:
    import numpy as np

CONNECT_TIMEOUT_S = 5
PASSAGES_TIMEOUT_S, QUESTION_TIMEOUT_S = 120, 30
"""Seconds until the answer begins. A model that is being loaded takes a while, and a person waits for a question."""
RETRIES = Retry(
    total=3,
    read=False,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    backoff_factor=0.5,
    respect_retry_after_header=False,
    raise_on_status=False,
)
"""Passages are sent again after 0, 1 and 2 seconds if the server is busy or has an error of its own. Otherwise one such
answer would end the indexing of a document that needs a hundred. A server that is silent is not asked again, and one
that names an hour in Retry-After is not waited for."""
MAX_ERROR_LENGTH = 300


class EmbeddingServer:
    """Asks a server for vectors.

    :param url: the URL without `/embeddings`
    :param name: the model's name on the server
    """

    batch_size = 32

    def __init__(self, url: str, name: str, key: str) -> None:
        self._url = f"{url.rstrip('/')}/embeddings"
        self.name = name
        self._length: int | None = None
        """The number of numbers in the vectors of the first answer."""
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def passages(self, texts: Sequence[str]) -> "np.ndarray":
        """Return one row for each text that is searched in."""
        return self._rows(texts, PASSAGES_TIMEOUT_S, RETRIES)

    def question(self, text: str) -> "np.ndarray":
        """Return the vector of a text that is searched for."""
        row: "np.ndarray" = self._rows([text], QUESTION_TIMEOUT_S, 0)[0]
        return row

    def _rows(self, texts: Sequence[str], timeout: float, retries: Retry | int) -> "np.ndarray":
        import numpy as np

        answer = self._ask([text[:MAX_CHARACTERS] for text in texts], timeout, retries)
        try:
            entries = sorted(answer["data"], key=lambda entry: entry["index"])
            rows = np.array([entry["embedding"] for entry in entries], dtype=np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise EmbeddingError("The embedding server sent something that is no list of vectors.") from error
        if rows.ndim != 2 or len(rows) != len(texts) or not rows.size or not np.isfinite(rows).all():
            raise EmbeddingError(f"The embedding server was asked for {len(texts)} vectors and sent something else.")
        self._length = self._length or rows.shape[1]
        if rows.shape[1] != self._length:  # No search would compare them with the others.
            raise EmbeddingError(
                f"The embedding server sent vectors of {rows.shape[1]} numbers; those before had {self._length}. If"
                " those were wrong, restart the sandbox."
            )
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-9))

    def _ask(self, texts: list[str], timeout: float, retries: Retry | int) -> Any:
        session = requests.Session()
        session.trust_env = False  # A proxy of the environment would get the texts of users.
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retries))
        try:
            with session, session.post(
                self._url,
                json={"model": self.name, "input": texts, "encoding_format": "float"},
                headers=self._headers,
                timeout=(CONNECT_TIMEOUT_S, timeout),
                allow_redirects=False,
            ) as response:
                if response.status_code != 200:
                    detail = response.text[:MAX_ERROR_LENGTH]
                    raise EmbeddingError(f"The embedding server answered with status {response.status_code}: {detail}")
                return response.json()
        except ValueError as error:  # Also an address that is no URL, and an answer that is no JSON.
            raise EmbeddingError(f"The embedding server cannot be used: {type(error).__name__}") from error
        except requests.RequestException as error:
            raise EmbeddingError(f"The embedding server did not answer: {type(error).__name__}") from error
