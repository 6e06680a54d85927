"""What questions find, on texts such as people upload."""

import pytest

from route_api.sandbox.knowledge.passage_search import index_segments
from route_api.sandbox.text.search_tokens import index_words, keywords_of, question_tokens, tokenize

from ...support.sandbox_knowledge import CHAPTER, Knowledge

HANDBOOK = "\n\n".join(
    [
        "第一条 员工每年享有带薪年假十五天，须提前两周向部门主管申请。",
        "第二条 病假须提交医院证明，三天以内由部门主管批准，三天以上由人力资源部批准。",
        "第三条 出差住宿标准：一线城市每晚不超过六百元，其他城市每晚不超过四百元。",
        "第四条 报销须在费用发生后三十日内提交，附发票原件。逾期不予受理。",
        "第五条 公司网络密码每九十天更换一次，长度不少于十二位。VPN 故障请联系 IT 服务台，分机 8021。",
        "第六条 The cafeteria is open from 11:30 to 13:30 on working days.",
        "第七条 试用期为三个月，试用期内工资为正式工资的百分之八十。",
        "第八条 加班须经主管事先批准，可调休或按劳动法支付加班费。",
    ]
)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("葫芦庙在哪里？", "葫芦庙在姑苏城"),
        ("葫芦庙在什么地方", "葫芦庙在姑苏城"),
        ("英莲在元宵节走失", "元宵佳节霍启抱了英莲"),
        ("甄士隐的女儿叫什么名字？", "甄士隐的女儿名英莲"),
        ("贾雨村靠什么为生", "贾雨村原系胡州人氏"),
        ("谁的嫡妻是封氏", "庙旁住着一家乡宦"),
        ("庙", "葫芦庙在姑苏城"),
    ],
)
def test_a_question_about_the_novel_finds_its_passage_first(knowledge: Knowledge, question: str, answer: str) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "红楼梦第一回.txt", CHAPTER)
    assert knowledge.found(dataset_id, question)[0].startswith(answer)


@pytest.mark.parametrize(
    ("question", "article"),
    [
        ("年假有几天？", 1),
        ("请病假需要什么材料", 2),
        ("出差住宿能报多少钱", 3),
        ("发票多久之内要报销", 4),
        ("VPN连不上找谁", 5),
        ("ＶＰＮ 故障", 5),
        ("when does the cafeteria open", 6),
        ("试用期工资是多少", 7),
        ("加班费怎么算", 8),
    ],
)
def test_a_question_about_the_handbook_finds_its_article_first(
    knowledge: Knowledge, question: str, article: int
) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "员工手册.txt", HANDBOOK)
    assert knowledge.found(dataset_id, question)[0] == HANDBOOK.split("\n\n")[article - 1]


def test_scores_fall_from_verbatim_to_related_to_nothing(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "员工手册.txt", HANDBOOK)
    records = knowledge.retrieve(dataset_id, "报销须在费用发生后三十日内提交")
    scores = [record["score"] for record in records]
    assert scores[0] > 0.95
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 0.5 for score in scores[1:])
    assert knowledge.retrieve(dataset_id, "量子力学") == []


def test_a_threshold_keeps_the_good_ones_only(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "红楼梦第一回.txt", CHAPTER)
    on = {"score_threshold_enabled": True}
    assert len(knowledge.found(dataset_id, "甄士隐的女儿", **on, score_threshold=0)) > 1
    assert len(knowledge.found(dataset_id, "甄士隐的女儿", **on, score_threshold="0.8")) == 1
    assert knowledge.found(dataset_id, "英莲在元宵节走失", **on, score_threshold=0.9) == []


def test_top_k_is_a_limit_from_the_best(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "红楼梦第一回.txt", CHAPTER)
    every = knowledge.found(dataset_id, "甄士隐", top_k=100)
    assert len(every) > 1
    assert knowledge.found(dataset_id, "甄士隐", top_k=1) == every[:1]


def test_a_common_word_is_looked_for_where_the_rare_ones_name_too_few(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    texts = [f"第{number}户说起葫芦庙。" for number in range(9000)]
    knowledge.upload(dataset_id, "a.txt", "\n\n".join(["火灾之后重建。", *texts]))
    found = knowledge.found(dataset_id, "葫芦庙的火灾", top_k=5)
    assert len(found) == 5
    assert "火灾之后重建。" in found


def test_datasets_do_not_see_each_other(knowledge: Knowledge) -> None:
    first, second = knowledge.create_dataset("一"), knowledge.create_dataset("二")
    knowledge.upload(first, "a.txt", "葫芦庙在仁清巷。")
    knowledge.upload(second, "b.txt", "大观园在都中。")
    assert knowledge.found(second, "葫芦庙在哪里") == []


def test_a_filter_gives_the_best_of_those_documents_and_not_what_is_left(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    for number in range(30):
        knowledge.upload(dataset_id, f"{number}.txt", "英莲走失了。英莲走失了。")
    knowledge.service("POST", f"/datasets/{dataset_id}/metadata/built-in/enable")
    knowledge.upload(dataset_id, "最后.txt", "有人说英莲后来叫香菱，住在很远很远的地方，没有人再提起她从前的名字。")
    wanted = {"name": "document_name", "comparison_operator": "is", "value": "最后.txt"}
    conditions = {"logical_operator": "and", "conditions": [wanted]}
    found = knowledge.found(dataset_id, "英莲走失", top_k=3, metadata_filtering_conditions=conditions)
    assert [text[:5] for text in found] == ["有人说英莲"]


@pytest.mark.parametrize(
    "question", ['"', "' OR 1=1 --", "*", "葫芦庙 AND NOT (", "dataset : x", "？！", "😀", "a" * 250]
)
def test_no_question_breaks_the_search(knowledge: Knowledge, question: str) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "红楼梦第一回.txt", CHAPTER)
    assert isinstance(knowledge.found(dataset_id, question), list)


def test_the_right_one_of_thirty_thousand_segments_is_found(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    document_id = knowledge.upload(dataset_id, "长篇.txt", "种子")
    texts = [
        f"第{number}回：话说葫芦庙旁第{number}户人家，讲的是第{number}件旧事，姓{chr(0x4E00 + number % 5000)}。"
        for number in range(30_000)
    ]
    texts[12_345] = "英莲后来被薛蟠买去，改名香菱。"
    with knowledge.store.transaction() as connection:
        connection.executemany(
            "INSERT INTO segment (id, dataset_id, document_id, position, content, word_count, tokens,"
            " index_node_id, index_node_hash, enabled, status, created_by, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, 1, 1, '', '', 1, 'completed', '', 0, 0)",
            ((str(number), dataset_id, document_id, number, text) for number, text in enumerate(texts)),
        )
        first = connection.execute("SELECT seq FROM segment WHERE id = '0'").fetchone()["seq"]
        index_segments(
            connection, dataset_id, ((first + number, index_words(text)) for number, text in enumerate(texts))
        )
    for question, answer in (
        ("英莲改名叫什么", texts[12_345]),
        ("第777件旧事是什么", texts[777]),
        ("葫芦庙旁的人家", "第"),
    ):
        assert knowledge.found(dataset_id, question)[0].startswith(answer)


def test_tokens_are_words_and_pairs_and_every_character_begins_one() -> None:
    assert tokenize("葫芦庙 VPN故障") == ["葫芦", "芦庙", "庙", "vpn", "故障", "障"]


def test_question_words_are_not_looked_for_unless_there_is_nothing_else() -> None:
    assert question_tokens("请问葫芦庙在哪里？") == ["葫芦", "芦庙"]
    assert question_tokens("What is the temple") == ["temple"]
    assert question_tokens("什么") == ["什么"]


def test_keywords_are_the_commonest_words() -> None:
    assert keywords_of("英莲英莲英莲，香菱")[0] == "英莲"
