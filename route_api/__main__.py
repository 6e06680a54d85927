"""`python -m route_api` serves, as `make serve` does."""

import sys

from .serve import main

sys.exit(main())
