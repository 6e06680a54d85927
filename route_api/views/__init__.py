"""One file, one blueprint, per resource: the first segment of a path names the file."""

from . import health, kb

BLUEPRINTS = [health.blueprint, kb.blueprint]
