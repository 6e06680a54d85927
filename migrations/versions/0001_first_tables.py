"""Create the tables of the API document 000: user, conversation, message."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
UTF8MB4 = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    op.create_table(
        "user",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("username", sa.String(255)),
        sa.Column("password_hash", sa.String(255)),
        sa.PrimaryKeyConstraint("id", name="pk_user"),
        sa.UniqueConstraint("username", name="uq_user_username"),
        **UTF8MB4,
    )
    op.create_table(
        "conversation",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(50), nullable=False),
        sa.Column("chat_type", sa.String(50), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("kb_id", sa.String(400)),
        sa.Column("dify_conversation_id", sa.String(36)),
        sa.Column("carrier", sa.String(64)),
        sa.Column("dify_since", sa.Integer()),
        sa.PrimaryKeyConstraint("id", name="pk_conversation"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], "fk_conversation_user_id", ondelete="CASCADE"),
        **UTF8MB4,
    )
    op.create_index(
        "ix_conversation_user_id_create_time_id_chat_type",
        "conversation",
        ["user_id", "create_time", "id", "chat_type"],
    )
    op.create_table(
        "message",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("conversation_id", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("chat_type", sa.String(50), nullable=False),
        sa.Column("query", LONG_TEXT, nullable=False),
        sa.Column("response", LONG_TEXT, nullable=False),
        sa.Column("meta_data", sa.JSON(), nullable=False),
        sa.Column("feedback_score", sa.Integer()),
        sa.Column("feedback_reason", sa.String(255)),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("claimed_until", TIME),
        sa.Column("dify_message_id", sa.String(36)),
        sa.PrimaryKeyConstraint("id", name="pk_message"),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversation.id"], "fk_message_conversation_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("conversation_id", "position", name="uq_message_conversation_id_position"),
        **UTF8MB4,
    )


def downgrade() -> None:
    op.drop_table("message")
    op.drop_table("conversation")
    op.drop_table("user")
