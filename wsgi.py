"""What gunicorn and the flask command load: `gunicorn wsgi:app`."""

from route_api import create_app

app = create_app()
