"""The command line: words in, exit code out.

Arguments are parsed into the checked dataclasses of :mod:`gradflow.settings` before anything heavy is imported; the
commands compose the library and compute nothing of their own. Numerical outcomes, wrong calls and trouble with files
become exit codes in one place (:mod:`gradflow.cli.exit_codes`).
"""

from gradflow.cli.entry import main
from gradflow.cli.exit_codes import ExitCode

__all__ = ["ExitCode", "main"]
