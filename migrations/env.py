"""The script that Alembic runs for `flask db …`. It uses the application's own database and tables."""

from alembic import context
from flask import current_app

from route_api.storage.database import engine_without_timeout

db = current_app.extensions["migrate"].db


def migrate() -> None:
    """Run the migrations in one transaction. MySQL commits each statement by itself, as it cannot roll back DDL."""
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
