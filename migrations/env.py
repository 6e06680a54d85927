"""The script that Alembic runs for `flask db …`. It uses the application's own database and tables."""

from alembic import context
from click import ClickException
from flask import current_app

from route_api.storage.database import engine_without_timeout, lacks_characters, refuses_transactions

db = current_app.extensions["migrate"].db


class WrongDatabase(ClickException):
    """The flask command prints the sentence alone and exits with this status, as for a wrong setting."""

    exit_code = 2


def migrate() -> None:
    """Run the migrations in one transaction. MySQL commits each statement by itself, as it cannot roll back DDL. A
    PgBouncer in statement mode also has each statement committed by itself."""
    engine = engine_without_timeout(db.engine)
    commits_each = refuses_transactions(engine)
    with engine.connect() as connection:
        problem = lacks_characters(connection)
    if problem:
        raise WrongDatabase(f"Route API cannot start:\n{problem}")
    with engine.connect() as connection:
        level = "AUTOCOMMIT" if commits_each else connection.default_isolation_level
        connection.execution_options(isolation_level=level)
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            compare_type=True,
            render_as_batch=connection.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            context.run_migrations()


migrate()
