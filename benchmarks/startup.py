"""How long a user waits before anything happens: ``import gradflow`` and ``--help``, each in a fresh process.

Side by side with the bare interpreter, rounds interleaved; medians in seconds.

Run: ``./go python benchmarks/startup.py``
"""

import platform
import statistics
import subprocess
import sys
import time

ROUNDS = 7
COMMANDS = {
    "python alone": ["-c", "pass"],
    "import gradflow": ["-c", "import gradflow"],
    "import gradflow, use a flow": ["-c", "import gradflow; gradflow.GradientFlow, gradflow.study"],
    "gradflow --help": ["-m", "gradflow", "--help"],
    "gradflow run --help": ["-m", "gradflow", "run", "--help"],
}


def main() -> None:
    """Prints the medians."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, words in COMMANDS.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - begun)
    print(f"{platform.machine()}, Python {platform.python_version()}, {ROUNDS} rounds")
    for name, measured in seconds.items():
        print(f"{name:>28}: {statistics.median(measured):6.3f} s")


if __name__ == "__main__":
    main()
