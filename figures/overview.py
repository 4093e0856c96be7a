"""Draws the page of pictures of one saved run: ``python figures/overview.py RESULT.nc -o overview.pdf``.

Everything comes from the results file; nothing is integrated.
"""

import argparse
import sys
from collections.abc import Sequence

from gradflow import checks, plotting, store


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws one results file; exit code 0, 2 for a wrong call, 4 for a file that cannot be read or written."""
    parser = argparse.ArgumentParser(description="Draws the page of pictures of one saved run.")
    parser.add_argument("result", help="a results file, e.g. result.nc")
    parser.add_argument("-o", "--out", default="overview.pdf", help="picture to write: .pdf, .png or .svg")
    chosen = parser.parse_args(arguments)
    try:
        written = plotting.save_figure(plotting.overview(store.load(chosen.result)), chosen.out)
    except (checks.InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, checks.InputError) else 4
    print(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
