"""Knowledge bases: parameters and answers. Source: the API document, part one."""

from .answers import Empty, answer
from .base import Parameters
from .fields import Choice, Flag, Id, Ratio, Text, Whole

NAME_LENGTH = 40
"""Dify's limit in characters (recorded in tests/contract/ as datasets/create-name-41-chars)."""

DESCRIPTION_LENGTH = 400
"""Dify's limit in characters (recorded in tests/contract/ as datasets/create-description-401-chars)."""

INDEXING_TECHNIQUES = ["high_quality", "economy"]
SEARCH_METHODS = ["semantic_search", "full_text_search", "hybrid_search", "keyword_search"]

PERMISSIONS = ["only_me", "all_team_members", "me", "team"]
MAX_TOP_K = 1024

DEFAULT_TOP_K = 5
DEFAULT_SCORE_THRESHOLD = 0.25
DEFAULT_VECTOR_WEIGHT = 0.6
"""The API document's defaults of a search: passages, least score, and the share of meaning against words."""


class RetrievalSettings(Parameters):
    """Settings of a knowledge base for searches that do not give their own. All are optional."""

    # RAGFlow's UI has other names for two of the settings. The answer of kb/update has them too.
    other_names = {"similarity_threshold": "score_threshold", "vector_similarity_weight": "weights"}

    indexing_technique = Choice(INDEXING_TECHNIQUES, metadata={"description": "`high_quality` (default) or `economy`"})
    search_method = Choice(SEARCH_METHODS, metadata={"description": "`semantic_search` by default"})
    embedding_model = Text(
        max_length=255,
        metadata={
            "description": "`model@provider`, or the name of the configured one; the workspace's default otherwise"
        },
    )
    reranking_enable = Flag(
        metadata={"description": "false by default; true takes the workspace's default rerank model if the kb has none"}
    )
    score_threshold_enabled = Flag(metadata={"description": "false by default; true may leave few passages"})
    score_threshold = Ratio(
        metadata={
            "description": f"{DEFAULT_SCORE_THRESHOLD} by default; above 0.35 little is found;"
            " or `similarity_threshold`"
        }
    )
    top_k = Whole(
        minimum=1, maximum=MAX_TOP_K, metadata={"description": f"number of passages, {DEFAULT_TOP_K} by default"}
    )
    weights = Ratio(
        metadata={
            "description": f"share of meaning against words in hybrid search, {DEFAULT_VECTOR_WEIGHT} by default;"
            " or `vector_similarity_weight`"
        }
    )


class KbCreate(RetrievalSettings):
    """Parameters of `kb/create`."""

    name = Text(max_length=NAME_LENGTH, required=True, metadata={"example": "testApi"})
    description = Text(max_length=DESCRIPTION_LENGTH, blank=True, load_default="")
    permission = Choice(PERMISSIONS, load_default="only_me")


class KbUpdate(RetrievalSettings):
    """Parameters of `kb/update`. Those that are left out keep their values."""

    kb_id = Id(required=True)
    name = Text(max_length=NAME_LENGTH)
    description = Text(
        max_length=DESCRIPTION_LENGTH,
        blank=True,
        keeps_empty=True,
        metadata={"description": "an empty text removes it"},
    )
    permission = Choice(PERMISSIONS)


class KbId(Parameters):
    """The one parameter of `kb/detail` and `kb/rm`."""

    kb_id = Id(required=True)


KB_ROW = {
    "avatar": "",
    "chunk_num": 152,
    "description": "",
    "doc_num": 4,
    "embd_id": "bge-m3:latest@langgenius/ollama/ollama",
    "id": "e0b33974-287c-42cf-bf85-9aa09fa9ae59",
    "language": "Chinese",
    "name": "测试知识库-1754297802951",
    "nickname": "admin",
    "parser_id": "naive",
    "permission": "only_me",
    "token_num": 81243,
    "update_time": 1754297803,
}
GRAPHRAG = {"community": True, "entity_types": Empty("person"), "method": "", "resolution": True, "use_graphrag": True}
KB_DETAIL = {
    **KB_ROW,
    "auth_list": Empty({}),
    "indexing_technique": "high_quality",
    "manager_list": Empty({}),
    "pagerank": 0,
    "parser_config": {"graphrag": GRAPHRAG, "layout_recognize": ""},
    "score_threshold_enabled": False,
    "search_method": "hybrid_search",
    "similarity_threshold": 0.25,
    "top_k": 5,
    "vector_similarity_weight": 0.6,
}
KB_UPDATED = {
    **KB_ROW,
    "create_date": "Mon, 04 Aug 2025 08:56:43 GMT",
    "create_time": 1754297803,
    "created_by": "419e054c-66b7-482a-8615-63fa9ad227dd",
    "pagerank": 0,
    "parser_config": {
        "auto_keywords": 0,
        "auto_questions": 0,
        "graphrag": GRAPHRAG,
        "layout_recognize": "",
        "raptor": {"use_raptor": True},
    },
    "similarity_threshold": 0.25,
    "status": "1",
    "tenant_id": "",
    "top_k": 5,
    "update_date": "Thu, 07 Aug 2025 07:15:58 GMT",
    "vector_similarity_weight": 0.6,
}
KB_CREATED = {
    "description": "鲁迅杂文赏析",
    "id": "edccc869-3275-479c-8e59-a850e412eb6f",
    "kb_id": "edccc869-3275-479c-8e59-a850e412eb6f",
    "name": "鲁迅杂文",
}

KbListAnswer = answer("KbListAnswer", {"kbs": [KB_ROW], "total": 2})
KbCreateAnswer = answer("KbCreateAnswer", KB_CREATED, message="按照参数完成DB修正后，完成DB创建！", params={})
KbDetailAnswer = answer("KbDetailAnswer", KB_DETAIL)
KbUpdateAnswer = answer("KbUpdateAnswer", KB_UPDATED)
KbRemoveAnswer = answer(
    "KbRemoveAnswer", "delete DB f3338b4c-d710-4f10-a651-ad75a7df5511 true", message="Delete DB successful!"
)
