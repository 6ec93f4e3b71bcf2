"""`python -m wsnova_statsd` is `wsnova-statsd`."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
