"""Create the tables that remember refused console logins, requests with an Idempotency-Key, and requests to stop."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"

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
        "console_refusal",
        sa.Column("login_hash", sa.String(64), nullable=False),
        sa.Column("refused_at", TIME, nullable=False),
        sa.Column("retry_at", TIME),
        sa.PrimaryKeyConstraint("login_hash", name="pk_console_refusal"),
        **UTF8MB4,
    )
    op.create_table(
        "idempotent_request",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("message_id", sa.String(32)),
        sa.Column("status", sa.Integer()),
        sa.Column("content_type", sa.String(100)),
        sa.Column("body", LONG_TEXT),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("taken_at", TIME, nullable=False),
        sa.Column("leased_until", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_idempotent_request"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name="fk_idempotent_request_message_id_message", ondelete="CASCADE"
        ),
        **UTF8MB4,
    )
    op.create_index("ix_idempotent_request_create_time", "idempotent_request", ["create_time"])
    op.create_index("ix_idempotent_request_message_id", "idempotent_request", ["message_id"])
    op.create_table(
        "stop_request",
        sa.Column("message_id", sa.String(32), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("message_id", name="pk_stop_request"),
        **UTF8MB4,
    )


def downgrade() -> None:
    op.drop_table("stop_request")
    op.drop_table("idempotent_request")
    op.drop_table("console_refusal")
