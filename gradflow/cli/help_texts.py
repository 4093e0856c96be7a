"""What ``--help`` says beyond the options: the commands, examples, exit codes, completion."""

import inspect

from gradflow.cli.exit_codes import MEANINGS

EXAMPLES = {
    "demo": """\
examples:
  gradflow demo                            the table, figures and results in gradflow-demo, replaced each time
  gradflow demo --out b --seed 1           another start, another folder
  gradflow demo --rtol 1e-10               the same flow, more exactly
  gradflow run --config gradflow-demo/settings.toml --out c
                                           the demo as a run, to change what you like
""",
    "run": """\
examples:
  gradflow run --data iris --preprocess center --hidden 8 --out iris
  gradflow run --data FILE.csv --targets price --preprocess standardize standardize_targets --hidden 16 16
  gradflow run --data FILE.npz --task autoencoder --hidden 3 --scale 0.01
  gradflow run --data teacher_student --teacher-widths 8 2 4 --hidden 6 --flow reduced
  gradflow run --print-config > run.toml; gradflow run --config run.toml --seed 7
  gradflow run --list                      experiments, one question each
  gradflow run --all --tiny                all of them, in a quick version
  gradflow run NAME --help                 their options: --tiny, --set, --judge, --out

The results are one file, study.nc, that gradflow.store.load or any NetCDF reader opens.
""",
    "run NAME": """\
examples:
  gradflow run --list
  gradflow run plateau_times --tiny        seconds, results in results/tiny
  gradflow run plateau_times --set depths=1,2 seed=3 --out elsewhere
  gradflow run plateau_times --judge results/plateau_times.nc
  gradflow run --all                       every experiment; what was measured before is kept

The results are one file for each experiment, NAME.nc, that gradflow.laboratory.load_results or any NetCDF reader opens.
""",
    "basins": """\
examples:
  gradflow basins --problem example1 --samples 1000000 --folder example1
  gradflow basins --expression "(x**2 - 1)**2 + y**2" --map map.png --figure fractions.png
  gradflow basins --problem double_well --sampler slice --resolution 400 --map map.png
  gradflow basins --network shallow --hidden 4 --data iris --preprocess center --samples 2000 --out iris.nc
  gradflow basins --problem himmelblau --design sobol --format json > himmelblau.json
  gradflow basins --print-config > basins.toml; gradflow basins basins.toml --problem example1 --seed 7

With --folder the same command goes on after any interruption, and ends with the same table.
""",
    "portrait": """\
examples:
  gradflow portrait double_well
  gradflow portrait two_layer_scalar --starts "0.5,0.1;-1,-0.5" --window -2 2 -2 2
  gradflow portrait --expression "(x**2 + y - 1)**2 + 0.1*y**2"
""",
    "report": """\
examples:
  gradflow report gradflow-run             the run in that folder, as gradflow-run/report.html
  gradflow report himmelblau.nc --out himmelblau.html
  gradflow report run/study.nc --no-explorer
  gradflow report results                  all experiments in that folder; a file NAME.nc is one of them
""",
    "verify": """\
examples:
  gradflow verify                          every statement, in a minute or two
  gradflow verify --only 002/theorem-1 --thorough --explain
  gradflow verify --thorough --format markdown --out docs/statements.md
  gradflow verify --format json > verdicts.json
""",
}

_FRAME = """\
usage: gradflow [-h] [--version] [--completion SHELL] COMMAND ...

Gradient flows of neural networks: integrated to their end, with invariants watched and endpoints named.

commands:
{commands}

options:
  -h, --help            this text; after a command, all about that command
  --version             print the version
  --completion SHELL    print a completion script for bash, zsh, fish or tcsh, e.g.
                        source <(gradflow --completion bash)
  --debug               show the traceback of an error (also GRADFLOW_DEBUG=1)

examples:
  gradflow demo
  gradflow run --data FILE.csv --targets price --preprocess standardize --hidden 16 --out results
  gradflow basins --problem example1 --samples 100000
  gradflow portrait double_well
  gradflow report gradflow-run
  gradflow verify
  gradflow run --list

exit codes:
{exit_codes}

Progress goes to standard error, results to standard output. NO_COLOR is respected.
"""


def overview(commands: dict[str, type]) -> str:
    """The help text of the program as a whole."""
    lines = [f"  {name:<10}{_first_line(kind)}" for name, kind in commands.items()]
    codes = [f"  {code.value:<5}{meaning}" for code, meaning in MEANINGS.items()]
    return _FRAME.format(commands="\n".join(lines), exit_codes="\n".join(codes))


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").splitlines()[0]
