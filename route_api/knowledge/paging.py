"""Lists that are longer than Dify gives in one call."""

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
FetchPage = Callable[[int, int], Json]
"""`fetch(page, limit)` -> Dify's page: `data`, a list of rows with an `id`, and `total`."""

DIFY_MAX_LIMIT = 100
"""Dify silently takes 100 for anything above, and then says that no more rows exist (contract README, 8)."""


def read_page(fetch: FetchPage, page: int, size: int) -> tuple[list[Json], int]:
    """Rows of one page, and the total of all pages.

    One upstream call for up to 100 rows. A larger page is joined from several, which is not just appending: Dify sorts
    by whole seconds, and 1.8.1 lets rows of one second change places between two calls (contract README, 9), so that
    pages put one behind the other lose some rows and repeat others. All rows up to the end of the page are read, and
    read again with other page borders while some are missing; then they get one order that is always the same.
    """
    if size <= DIFY_MAX_LIMIT:
        answer = fetch(page, size)
        return answer["data"], answer["total"]
    first, end = (page - 1) * size, page * size
    rows: dict[str, Json] = {}
    total = 0
    for limit in (DIFY_MAX_LIMIT, DIFY_MAX_LIMIT - 1, DIFY_MAX_LIMIT - 7, DIFY_MAX_LIMIT - 13):
        total = _collect(fetch, limit, end, rows)
        if len(rows) >= min(end, total):
            break
    ordered = sorted(rows.values(), key=_newest_first)
    return ordered[first:end], total


def _collect(fetch: FetchPage, limit: int, end: int, rows: dict[str, Json]) -> int:
    """Read pages of `limit` rows into `rows` by id until `end` rows are passed or the list ends."""
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
    """Dify's own order: datasets and documents newest first, segments by their position in the document."""
    if "document_id" in row:
        return 0.0, row.get("position") or 0, row["id"]
    return -(row.get("created_at") or 0), 0, row["id"]
