"""Remember with which variables and which model of the app the conversation on Dify began."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("conversation", sa.Column("dify_form", sa.String(64)))
    op.add_column("conversation", sa.Column("dify_model", sa.String(255)))


def downgrade() -> None:
    op.drop_column("conversation", "dify_model")
    op.drop_column("conversation", "dify_form")
