"""Pages of our lists that are longer than Dify's. Pure functions."""

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
FetchPage = Callable[[int, int], Json]
"""`fetch(page, limit)` returns Dify's page: `data`, a list of rows with an `id`, and `total`."""

DIFY_MAX_LIMIT = 100
"""Dify treats a larger `limit` as 100 and then says that no more rows exist (tests/contract/README.md, 8)."""


def read_page(fetch: FetchPage, page: int, size: int) -> tuple[list[Json], int]:
    """Read one page of a list, with one upstream call for up to 100 rows and several for more.

    Dify's pages cannot just be joined. Dify sorts by whole seconds, and in 1.8.1 rows of the same second change places
    between two calls (tests/contract/README.md, 9): joined pages would lose some rows and repeat others. So we read all
    rows up to the end of our page. While some are missing we read again with another `limit`. Then we sort the rows in
    an order that is always the same.

    :param page: number of our page, from 1
    :param size: rows of our page
    :returns: the rows of this page, and the number of rows on all pages
    """
    if size <= DIFY_MAX_LIMIT:
        answer = fetch(page, size)
        return answer["data"], answer["total"]
    first, end = (page - 1) * size, page * size
    rows: dict[str, Json] = {}
    total = 0
    for limit in (DIFY_MAX_LIMIT, DIFY_MAX_LIMIT - 1, DIFY_MAX_LIMIT - 7, DIFY_MAX_LIMIT - 13):
        total = _collect_rows(fetch, limit, end, rows)
        if len(rows) >= min(end, total):
            break
    ordered = sorted(rows.values(), key=_newest_first)
    return ordered[first:end], total


def _collect_rows(fetch: FetchPage, limit: int, end: int, rows: dict[str, Json]) -> int:
    """Read pages of `limit` rows until `end` rows are read or the list ends, and put the rows into `rows` by id.

    :returns: the number of rows on all pages
    """
    page, total = 1, 1
    while (page - 1) * limit < min(end, total):
        answer = fetch(page, limit)
        total = answer["total"]
        rows.update((row["id"], row) for row in answer["data"])
        if not answer["data"]:
            break
        page += 1
    return total


def _newest_first(row: Json) -> tuple[float, int, str]:
    """Sort as Dify does: datasets and documents newest first, segments by their position in the document."""
    if "document_id" in row:
        return 0.0, row.get("position") or 0, row["id"]
    return -(row.get("created_at") or 0), 0, row["id"]
