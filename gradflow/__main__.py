"""``python -m gradflow`` and the console script ``gradflow``."""

import sys

from gradflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
