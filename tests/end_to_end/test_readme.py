"""The commands of the README's first section."""

from ..support.first_five_minutes import assert_the_first_five_minutes_work
from ..support.running_gateway import PROJECT_DIR, Gateway


def test_the_first_five_minutes_work_as_printed(gateway: Gateway) -> None:
    assert_the_first_five_minutes_work(gateway.port, PROJECT_DIR)
