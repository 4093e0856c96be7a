"""``python -m gradflow`` and the console script ``gradflow``."""

import os
import sys

from gradflow import cli


def main() -> int:
    """Runs the command line; after an interruption the process leaves at once.

    A computation that was interrupted may go on in threads of XLA, and the interpreter's orderly end would pull the
    ground from under them.
    """
    code = cli.main()
    if code == cli.ExitCode.INTERRUPTED:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
