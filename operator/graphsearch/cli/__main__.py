"""``python -m graphsearch.cli`` is the program ``graphsearch``."""

import sys

from graphsearch.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
