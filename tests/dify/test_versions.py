from route_api.dify.versions import version_tuple


def test_versions_are_compared_as_numbers() -> None:
    assert version_tuple("1.12.1") > version_tuple("1.8.1") > version_tuple(None)
