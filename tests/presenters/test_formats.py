"""Values that several answers share."""

import pytest

from route_api.presenters.formats import http_date, without_host


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://dify.test/files/a?sign=1&as=2", "/files/a?sign=1&as=2"),
        ("https://u:p@10.0.0.1:8443/files/a", "/files/a"),
        ("/files/a?x=1", "/files/a?x=1"),
        ("", ""),
    ],
)
def test_an_address_loses_its_host(address: str, shown: str) -> None:
    assert without_host(address) == shown


def test_dates_are_those_of_http() -> None:
    assert http_date(1754889105) == "Mon, 11 Aug 2025 05:11:45 GMT"
    assert http_date(0) == ""
