"""Replace U+0000 in the meta_data of old messages. PostgreSQL stores it in JSON, but then reads no field of that JSON,
so that the lists with such a message failed. SQLite and MySQL/MariaDB read it."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            r"UPDATE message SET meta_data = replace(meta_data::text, '\u0000', '\ufffd')::json"
            r" WHERE position('\u0000' in meta_data::text) > 0"
        )


def downgrade() -> None:
    """The replaced characters stay replaced."""
