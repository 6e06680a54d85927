"""Add the columns for users who log in: the role, and the login generation, which ends all logins of a user at once."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("user", sa.Column("role", sa.String(16), nullable=False, server_default="user"))
    op.add_column("user", sa.Column("login_generation", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("user", "login_generation")
    op.drop_column("user", "role")
