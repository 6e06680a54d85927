"""What Alembic runs for `flask db …`: the application's own engine and tables."""

from alembic import context
from flask import current_app

from route_api.storage.database import engine_without_timeout

db = current_app.extensions["migrate"].db


def migrate() -> None:
    """Run the migrations in one transaction (each statement by itself on MySQL, which has no other way)."""
    with engine_without_timeout(db.engine).connect() as connection:
        connection.execution_options(isolation_level=connection.default_isolation_level)
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            compare_type=True,
            render_as_batch=connection.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            context.run_migrations()


migrate()
