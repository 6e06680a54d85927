"""What `make serve` says of its address."""

import pytest

from config import Config
from route_api.serve import page_address


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, "http://127.0.0.1:8000/"),
        ({"HOST": "localhost", "PORT": 8123}, "http://localhost:8123/"),
        ({"HOST": "0.0.0.0"}, "http://127.0.0.1:8000/"),
        ({"HOST": "::"}, "http://[::1]:8000/"),
        ({"CONSOLE": "off"}, "http://127.0.0.1:8000/docs"),
    ],
)
def test_it_names_a_page_that_this_machine_reaches(settings: dict[str, str | int], address: str) -> None:
    assert page_address(Config.load(**{"AUTH": "open", **settings})) == address
