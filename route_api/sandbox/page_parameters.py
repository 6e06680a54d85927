"""Dify's page parameters and list answers, oddities included."""

from dataclasses import dataclass
from typing import Any

from flask import request

from .request_fields import RequestFields

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
_ANY_INT = 2**31 - 1


@dataclass(frozen=True)
class Page:
    """What was asked; `rows` and `offset` are what is really given."""

    page: int
    limit: int

    @property
    def rows(self) -> int:
        """At most 100, and 20 for a limit below 1 (datasets/list-limit-101-of-111, list-limit-0)."""
        return min(self.limit, MAX_LIMIT) if self.limit >= 1 else DEFAULT_LIMIT

    @property
    def offset(self) -> int:
        """Rows before this page; page 0 is page 1 (datasets/list-page-0)."""
        return (max(self.page, 1) - 1) * self.rows

    def answer(self, data: list[Any], total: int) -> dict[str, Any]:
        """The answer: it repeats the limit that was asked; `has_more` means "as many rows as that"."""
        has_more = len(data) == self.limit
        return {"data": data, "has_more": has_more, "limit": self.limit, "total": total, "page": self.page}


def requested_page(model: str) -> Page:
    """The page that the query asks for.

    :param model: Dify's name of the query's model, for the error's text
    :raises SandboxError: 400, page or limit is no number (datasets/list-limit-empty)
    """
    query = RequestFields(model, request.args)
    page, limit = (query.number(name, default, -_ANY_INT, _ANY_INT) for name, default in (("page", 1), ("limit", 20)))
    return Page(page, limit)


def lenient_page() -> Page:
    """The same for lists that take the default for what is no number (segments/list-limit-not-a-number)."""
    return Page(request.args.get("page", 1, int), request.args.get("limit", DEFAULT_LIMIT, int))


def contains_pattern(keyword: str) -> str:
    r"""A LIKE pattern for "contains", to be used with `ESCAPE '\\'`."""
    escaped = keyword.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
