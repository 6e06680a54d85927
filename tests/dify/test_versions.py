from route_api.dify.versions import version_tuple


def test_versions_are_compared_as_numbers() -> None:
    assert version_tuple("1.12.1") > version_tuple("1.8.1") > version_tuple(None)


def test_what_is_no_version_is_less_than_every_version() -> None:
    """Python refuses to read a number of more than 4,300 digits."""
    for text in ("", "main", "1.8", "9" * 5000 + ".1.1"):
        assert version_tuple(text) == () < version_tuple("0.0.1")
