"""Tests of Route API, in the same folders as the modules that they test."""

import pytest

pytest.register_assert_rewrite("tests.support")
