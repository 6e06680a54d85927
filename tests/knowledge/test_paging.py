"""Pages joined from several calls, against a Dify that shuffles rows of one second as 1.8.1 does.

Source: tests/contract/README.md, 8 and 9.
"""

from random import Random
from typing import Any

import pytest

from route_api.errors import ValidationFailed
from route_api.knowledge.paging import DIFY_MAX_LIMIT, MAX_MATCHED, read_matching_page, read_page


class ShufflingDify:
    """Rows newest first; those of one second come in another order with every call. At most 100 rows a call."""

    def __init__(self, seed: int, total: int, per_second: int) -> None:
        self.random = Random(seed)
        self.rows: list[dict[str, Any]] = [
            {"id": f"{number:04}", "created_at": 1_700_000_000 - number // per_second} for number in range(total)
        ]
        self.calls: list[tuple[int, int]] = []

    def fetch(self, page: int, limit: int) -> dict[str, Any]:
        self.calls.append((page, limit))
        limit = min(limit, DIFY_MAX_LIMIT)
        shuffled = sorted(self.rows, key=lambda row: (-row["created_at"], self.random.random()))
        return {"data": shuffled[(page - 1) * limit : page * limit], "total": len(self.rows), "has_more": False}


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


@pytest.mark.parametrize("size", [1, 20, 99, 100])
def test_a_page_that_dify_can_give_is_one_call(size: int) -> None:
    dify = ShufflingDify(1, 250, 1)
    rows, total = read_page(dify.fetch, 2, size)
    assert (ids(rows), total) == (ids(dify.rows[size : 2 * size]), 250)
    assert dify.calls == [(2, size)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("per_second", [1, 3, 7])
def test_a_page_of_250_has_every_row_once_however_dify_shuffles(seed: int, per_second: int) -> None:
    dify = ShufflingDify(seed, 250, per_second)
    rows, total = read_page(dify.fetch, 1, 250)
    assert (len(rows), total) == (250, 250)
    assert sorted(ids(rows)) == ids(dify.rows)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("per_second", [4, 7, 40])
def test_big_pages_one_after_the_other_lose_and_repeat_nothing(seed: int, per_second: int) -> None:
    dify = ShufflingDify(seed, 430, per_second)
    pages = [read_page(dify.fetch, page, 150)[0] for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [150, 150, 130]
    assert len({row["id"] for page in pages for row in page}) == 430


def test_a_big_page_has_an_order_that_is_always_the_same() -> None:
    first, second = (read_page(ShufflingDify(seed, 250, 3).fetch, 1, 250)[0] for seed in (1, 2))
    assert ids(first) == ids(second)
    assert [row["created_at"] for row in first] == sorted((row["created_at"] for row in first), reverse=True)


def test_a_big_page_of_few_rows_is_one_call() -> None:
    dify = ShufflingDify(1, 30, 2)
    assert len(read_page(dify.fetch, 1, 1000)[0]) == 30
    assert len(dify.calls) == 1


def test_a_big_page_costs_no_more_calls_than_it_must() -> None:
    dify = ShufflingDify(1, 1000, 1)
    rows, _ = read_page(dify.fetch, 1, 250)
    assert (len(rows), len(dify.calls)) == (250, 3)


def test_a_big_page_beyond_the_end_is_empty_and_knows_the_total() -> None:
    assert read_page(ShufflingDify(1, 30, 2).fetch, 9, 200) == ([], 30)
    assert read_page(ShufflingDify(1, 0, 2).fetch, 1, 200) == ([], 0)


def test_chunks_keep_the_order_of_their_document() -> None:
    segments = [{"id": f"{200 - n}", "document_id": "d", "position": n, "created_at": n} for n in range(1, 181)]

    def fetch(page: int, limit: int) -> dict[str, Any]:
        return {"data": segments[(page - 1) * limit : page * limit], "total": 180}

    assert read_page(fetch, 1, 200) == (segments, 180)


def test_a_list_that_shrinks_while_it_is_read_ends() -> None:
    def fetch(page: int, limit: int) -> dict[str, Any]:
        return {"data": [{"id": "a", "created_at": 1}] if page == 1 else [], "total": 500}

    assert read_page(fetch, 1, 400) == ([{"id": "a", "created_at": 1}], 500)


def names(row: dict[str, Any]) -> list[str | None]:
    return [row["id"], None]


def test_wildcards_in_keywords_are_read_as_text() -> None:
    dify = ShufflingDify(3, 230, 1)  # As if `_` had found all of them.
    for number in (0, 7, 101, 229):
        dify.rows[number]["id"] += "a_B"
    expected = [dify.rows[number]["id"] for number in (0, 7, 101, 229)]
    rows, total = read_matching_page(dify.fetch, 1, 20, "A_b", names)
    assert (ids(rows), total) == (expected, 4)
    assert len(dify.calls) == 3
    rows, total = read_matching_page(dify.fetch, 2, 3, "a_", names)
    assert (ids(rows), total) == (expected[3:], 4)
    assert read_matching_page(dify.fetch, 1, 20, "100%", names) == ([], 0)


def test_keywords_without_a_wildcard_are_difys_own_affair() -> None:
    dify = ShufflingDify(4, 250, 1)
    rows, total = read_matching_page(dify.fetch, 2, 20, "report", names)
    assert (ids(rows), total, dify.calls) == (ids(dify.rows[20:40]), 250, [(2, 20)])


def test_keywords_that_find_too_much_are_refused_after_one_call() -> None:
    dify = ShufflingDify(5, MAX_MATCHED + 1, 1)
    with pytest.raises(ValidationFailed, match="5,001 rows, of which 5,000"):
        read_matching_page(dify.fetch, 1, 20, "%", names)
    assert len(dify.calls) == 1
