"""Counts how many chunks knowledge bases have. Dify tells this only for single documents, and only in its console."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any, TypeVar

from ..dify import ConsoleApi
from ..errors import DifyError, DifyForbidden, DifyNotFound
from ..extensions import component
from ..monitoring import tracing

Json = dict[str, Any]
State = tuple[Any, ...]
T = TypeVar("T")

log = logging.getLogger(__name__)

WAIT_S = 0.5
"""Seconds for which a request waits for new counts. Dify counts some hundred documents in this time."""

LIFETIME_S = 600.0
"""Seconds after which chunks are counted again, although the kb seems to be the same."""

SLOW_S = 0.25
REST = 3.0
"""A count that took more than SLOW_S seconds is not repeated for REST times as long. So counting does not keep Dify
busy while documents are uploaded into a kb that has thousands."""

PAUSE_S = 10.0
"""Seconds for which nothing is counted after Dify failed."""

MAX_KBS = 10_000
"""Number of knowledge bases that are remembered."""

ENDED = ("completed", "error", "paused")
"""What a document's `indexing_status` is if no chunks are being added."""


def state_of(dataset: Json) -> State:
    """What Dify tells of a dataset at no cost, and what changes with its chunks."""
    return tuple(dataset.get(name) for name in ("document_count", "word_count", "total_available_documents"))


@dataclass(frozen=True, slots=True)
class _Count:
    chunks: int
    state: State
    is_final: bool
    """Whether no document was being processed."""
    counted_at: float
    not_before: float

    def is_due(self, state: State) -> bool:
        now = monotonic()
        if now < self.not_before:
            return False
        return not self.is_final or state != self.state or now > self.counted_at + LIFETIME_S


class KbCounts:
    """The counts of this process, which one thread brings up to date, one kb after the other.

    A count holds while Dify tells the same numbers of documents and of characters for the kb, whoever changes it. So a
    list of unchanged knowledge bases costs no call, and nothing has to be forgotten after an upload or a deletion.
    """

    def __init__(self) -> None:
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._asked: OrderedDict[str, tuple[State, Future[None]]] = OrderedDict()
        self._lock = threading.Lock()
        """For `_asked` and `_is_counting`, and for changes of the other two."""
        self._is_counting = False
        self._not_before = 0.0

    def chunks_of(self, console: ConsoleApi, datasets: list[Json]) -> dict[str, int]:
        """How many chunks each dataset has. Waits up to WAIT_S for counts that are missing or too old.

        :param datasets: as Dify's list or its detail shows them
        :returns: by id; the last count where the new one takes longer or fails. A dataset without any count is left
            out: without a console login all are
        """
        for dataset in datasets:
            self.note_size(dataset["id"], dataset.get("document_count") or 0)
        filled = [dataset for dataset in datasets if dataset.get("document_count")]
        if console.is_configured and (due := [dataset for dataset in filled if self._is_due(dataset)]):
            waits_since = perf_counter()
            wait(self._ask(console, due), WAIT_S)
            tracing.current().waited_since(waits_since)
        counts = ((dataset["id"], self._counts.get(dataset["id"])) for dataset in filled)
        return {kb_id: count.chunks for kb_id, count in counts if count}

    def size_of(self, kb_id: str) -> int | None:
        """How many documents a kb had when Dify last told it; None if it has not yet."""
        return self._sizes.get(kb_id)

    def note_size(self, kb_id: str, documents: int) -> None:
        """Remember how many documents a kb has."""
        if self._sizes.get(kb_id) != documents:
            with self._lock:
                _put(self._sizes, kb_id, documents)

    def _is_due(self, dataset: Json) -> bool:
        count = self._counts.get(dataset["id"])
        return monotonic() >= self._not_before and (count is None or count.is_due(state_of(dataset)))

    def _ask(self, console: ConsoleApi, datasets: Iterable[Json]) -> list["Future[None]"]:
        """Put datasets in the queue of the thread, the small ones first, and start the thread if none runs."""
        futures = []
        with self._lock:
            for dataset in sorted(datasets, key=lambda each: each["document_count"]):
                _, future = self._asked.setdefault(dataset["id"], (state_of(dataset), Future()))
                futures.append(future)
            if futures and not self._is_counting:
                try:
                    threading.Thread(target=self._run, args=(console,), daemon=True).start()
                    self._is_counting = True
                except RuntimeError as error:  # No thread could be started.
                    log.warning("chunks are not counted: %s", error)
                    self._give_up()
        return futures

    def _run(self, console: ConsoleApi) -> None:
        tracing.end()  # A thread of gevent begins with the trace of the request that started it.
        while True:
            with self._lock:
                if not self._asked:
                    self._is_counting = False
                    return
                kb_id, (state, future) = next(iter(self._asked.items()))
            try:
                count = _count(console, kb_id, state)
                with self._lock:
                    _put(self._counts, kb_id, count)
                    del self._asked[kb_id]
                future.set_result(None)
            except Exception as error:
                level = logging.WARNING if isinstance(error, DifyError) else logging.ERROR
                log.log(
                    level, "the chunks of knowledge bases are not counted: %s", error, exc_info=level > logging.WARNING
                )
                with self._lock:
                    self._not_before = monotonic() + PAUSE_S
                    self._give_up()

    def _give_up(self) -> None:
        """Let all requests go on with the counts that there are."""
        for _, future in self._asked.values():
            future.set_result(None)
        self._asked.clear()


kb_counts: KbCounts = component("kb_counts")


def _count(console: ConsoleApi, kb_id: str, state: State) -> _Count:
    began = monotonic()
    try:
        documents = console.indexing_status(kb_id)["data"]
    except (DifyNotFound, DifyForbidden):  # It was deleted just now, or the console's login may not see it.
        documents = []
    ended = monotonic()
    took = ended - began
    return _Count(
        chunks=sum(document.get("total_segments") or 0 for document in documents),
        state=state,
        is_final=all(document.get("indexing_status") in ENDED for document in documents),
        counted_at=began,
        not_before=ended + REST * took if took > SLOW_S else 0.0,
    )


def _put(entries: "OrderedDict[str, T]", kb_id: str, value: T) -> None:
    entries[kb_id] = value
    entries.move_to_end(kb_id)
    if len(entries) > MAX_KBS:
        entries.popitem(last=False)
