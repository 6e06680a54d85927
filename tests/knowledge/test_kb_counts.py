"""The number of chunks of knowledge bases: when the console is asked for it, and what a request gets meanwhile."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from route_api.errors import DifyForbidden, DifyNotFound, DifyTimeout
from route_api.knowledge import kb_counts as module
from route_api.knowledge.kb_counts import KbCounts

from ..support.patience import PATIENCE_S
from ..support.recordings import load

STATUS: list[dict[str, Any]] = load("1.16.1", "documents/console-dataset-indexing-status")["response"]["body"]["data"]
CHUNKS = sum(document["total_segments"] for document in STATUS)


class FakeConsole:
    """A console that answers with :data:`STATUS`, or with what a test puts into `answer`."""

    is_configured = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[], list[dict[str, Any]]] = lambda: STATUS

    def indexing_status(self, dataset_id: str) -> dict[str, Any]:
        self.asked.append(dataset_id)
        return {"data": self.answer()}


@pytest.fixture
def console() -> Any:
    return FakeConsole()


def dataset(kb_id: str = "kb", documents: int = 2, characters: int = 100) -> dict[str, Any]:
    return {"id": kb_id, "document_count": documents, "word_count": characters, "total_available_documents": documents}


def failing(error: Exception) -> Callable[[], list[dict[str, Any]]]:
    def answer() -> list[dict[str, Any]]:
        raise error

    return answer


def test_the_chunks_of_all_documents_are_added_up(console: Any) -> None:
    assert KbCounts().chunks_of(console, [dataset("a"), dataset("b")]) == {"a": CHUNKS, "b": CHUNKS}
    assert console.asked == ["a", "b"] and CHUNKS > len(STATUS)


def test_an_unchanged_kb_is_not_counted_again(console: Any) -> None:
    counts = KbCounts()
    for _ in range(3):
        assert counts.chunks_of(console, [dataset()]) == {"kb": CHUNKS}
    assert console.asked == ["kb"]


@pytest.mark.parametrize("changed", [dataset(documents=3), dataset(characters=99)], ids=["documents", "characters"])
def test_a_changed_kb_is_counted_again(console: Any, changed: dict[str, Any]) -> None:
    counts = KbCounts()
    counts.chunks_of(console, [dataset()])
    console.answer = lambda: STATUS[:1]
    assert counts.chunks_of(console, [changed]) == {"kb": STATUS[0]["total_segments"]}


def test_a_kb_with_a_document_in_work_is_counted_again(console: Any) -> None:
    counts = KbCounts()
    console.answer = lambda: [{**STATUS[0], "indexing_status": "indexing", "total_segments": 1}]
    assert counts.chunks_of(console, [dataset()]) == {"kb": 1}
    console.answer = lambda: STATUS
    assert counts.chunks_of(console, [dataset()]) == {"kb": CHUNKS}


def test_a_kb_is_counted_again_after_a_while(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIFETIME_S", -1.0)
    counts = KbCounts()
    for _ in range(2):
        counts.chunks_of(console, [dataset()])
    assert console.asked == ["kb", "kb"]


def test_an_empty_kb_and_a_gateway_without_a_login_ask_nothing(console: Any) -> None:
    assert KbCounts().chunks_of(console, [dataset(documents=0)]) == {}
    console.is_configured = False
    assert KbCounts().chunks_of(console, [dataset()]) == {}
    assert console.asked == []


def test_a_slow_count_keeps_nobody_waiting_and_is_there_the_next_time(
    console: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    counts, may_answer = KbCounts(), threading.Event()

    def slow() -> list[dict[str, Any]]:
        assert may_answer.wait(PATIENCE_S)
        return STATUS

    console.answer = slow
    datasets = [dataset("large", documents=1000), dataset("small")]
    assert counts.chunks_of(console, datasets) == {}
    assert counts.chunks_of(console, datasets) == {}
    may_answer.set()
    monkeypatch.setattr(module, "WAIT_S", 10.0)
    assert counts.chunks_of(console, datasets) == {"large": CHUNKS, "small": CHUNKS}
    assert console.asked == ["small", "large"], "one after the other, each once, the small one first"


def test_a_kb_that_takes_long_is_left_alone_for_a_while(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW_S", 0.0)
    monkeypatch.setattr(module, "REST", 1_000_000.0)
    counts = KbCounts()
    counts.chunks_of(console, [dataset()])
    assert counts.chunks_of(console, [dataset(documents=3)]) == {"kb": CHUNKS}
    assert console.asked == ["kb"]


def test_a_console_that_fails_leaves_the_last_count_and_is_not_asked_for_each_request(
    console: Any, log: pytest.LogCaptureFixture
) -> None:
    counts = KbCounts()
    counts.chunks_of(console, [dataset("a")])
    console.answer = failing(DifyTimeout("Dify did not answer in time."))
    for _ in range(2):
        assert counts.chunks_of(console, [dataset("a", documents=3), dataset("b")]) == {"a": CHUNKS}
    assert len(console.asked) == 2 and "did not answer in time" in log.text


@pytest.mark.parametrize("error", [DifyNotFound("gone"), DifyForbidden("not yours")])
def test_a_kb_that_the_console_does_not_show_holds_up_no_other(console: Any, error: Exception) -> None:
    answers = iter([failing(error), lambda: STATUS])
    console.answer = lambda: next(answers)()
    assert KbCounts().chunks_of(console, [dataset("a"), dataset("b")]) == {"a": 0, "b": CHUNKS}


def test_only_so_many_kbs_are_remembered(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KBS", 2)
    counts = KbCounts()
    for name in "abc":
        counts.chunks_of(console, [dataset(name)])
    assert counts.size_of("a") is None and counts.size_of("c") == 2
    assert counts.chunks_of(console, [dataset("c")]) == {"c": CHUNKS}
    counts.chunks_of(console, [dataset("a")])
    assert console.asked == ["a", "b", "c", "a"]
