"""What gunicorn and the flask command load: `gunicorn wsgi:app`."""

from click import ClickException

from config import ConfigError
from route_api.app import create_app


class WrongSettings(ClickException):
    """The flask command prints the sentences alone and exits with this status, as gunicorn.conf.py does."""

    exit_code = 2


try:
    app = create_app()
except ConfigError as error:
    raise WrongSettings(f"Route API cannot start:\n{error}") from error
