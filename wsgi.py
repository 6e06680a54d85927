"""What gunicorn and the flask command load: `gunicorn wsgi:app`."""

from click import ClickException

from config import ConfigError
from route_api.app import create_app

try:
    app = create_app()
except ConfigError as error:  # The flask command prints the sentences alone; gunicorn does not start either way.
    raise ClickException(f"Route API cannot start:\n{error}") from error
