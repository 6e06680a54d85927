"""Create the table of the documents that Dify refuses to switch until some time."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0007"
down_revision = "0006"

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
UTF8MB4 = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    op.create_table(
        "document_lock",
        sa.Column("document_id", sa.String(36), nullable=False),
        sa.Column("kb_id", sa.String(36), nullable=False),
        sa.Column("locked_until", TIME, nullable=False),
        sa.PrimaryKeyConstraint("document_id", name="pk_document_lock"),
        **UTF8MB4,
    )
    op.create_index("ix_document_lock_kb_id", "document_lock", ["kb_id"])


def downgrade() -> None:
    op.drop_table("document_lock")
