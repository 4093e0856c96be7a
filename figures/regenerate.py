"""Draws every figure again from saved results: ``python figures/regenerate.py RESULTS -o FOLDER``.

RESULTS is a folder with one file for each experiment (``NAME.nc``, as ``gradflow run --all --out RESULTS`` leaves them)
and the planes of the portraits (``portraits.nc``, by ``figures/portraits.py --compute``). A script ``figures/NAME.py``
draws ``RESULTS/NAME.nc`` into ``FOLDER/NAME.pdf``; those that take other arguments are listed here. With ``--check``
nothing in FOLDER is changed: everything is drawn elsewhere, and every picture whose bytes differ is named. ``--small``
makes the pictures of the documentation: few dots to the inch, and few colours.
"""

import argparse
import contextlib
import filecmp
import io
import runpy
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

FIGURES = Path(__file__).resolve().parent

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "portraits": ("{results}/portraits.nc", "-o", "{folder}", "--format", "{format}"),
    "basins_beside_portraits": ("--planes", "{results}/{name}.nc", "-o", "{folder}/{name}.{format}"),
}
"""Arguments of the scripts that take other ones; the last one computes its planes where the file is missing."""

DEFAULT = ("{results}/{name}.nc", "-o", "{folder}/{name}.{format}")

NOT_HERE = ("regenerate", "drawing", "coverage_rows", "portrait_planes", "overview", "portrait_gallery")
"""This script, what the figures share, the portraits' planes, and what draws a user's own runs."""


SMALL_DPI, SMALL_COLORS = 110, 64
"""Dots per inch and number of colours of the pictures in the documentation."""


def commands(
    results: Path, folder: Path, suffix: str, only: Sequence[str] = (), more: Sequence[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """Names of the figures and the commands that draw them, in alphabetical order."""
    for script in sorted(FIGURES.glob("*.py")):
        name = script.stem
        if name not in NOT_HERE and (not only or name in only):
            filled = [
                part.format(results=results, folder=folder, format=suffix, name=name)
                for part in ARGUMENTS.get(name, DEFAULT)
            ]
            yield name, [str(script), *filled, *more]


def draw(results: Path, folder: Path, suffix: str, only: Sequence[str] = (), is_small: bool = False) -> dict[str, str]:
    """Draws into a folder; what became of each figure: "drawn", "no results", or the last line of its error."""
    outcome = {}
    more = ("--dpi", str(SMALL_DPI)) if is_small else ()
    for name, command in commands(results, folder, suffix, only, more):
        source = Path(command[1])
        if source.suffix == ".nc" and not source.exists():
            outcome[name] = "no results"
            continue
        code, said, complaint = run(command)
        outcome[name] = f"failed: {complaint}" if code else "drawn"
        for picture in said.split() if is_small and not code else ():
            reduced(Path(picture))
        print(f"{name}: {outcome[name]}", flush=True)
    return outcome


def run(command: list[str]) -> tuple[int, str, str]:
    """Exit code, output and the last line of complaint of a script, run in this process: imports are done once."""
    before, said, complaints = list(sys.argv), io.StringIO(), io.StringIO()
    sys.argv, code = command, 0
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaints):
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if isinstance(leaving.code, str):
            complaints.write(leaving.code)
    except Exception as error:  # a figure that fails must not keep the others from being drawn
        code = 1
        complaints.write(f"{type(error).__name__}: {error}")
    finally:
        sys.argv = before
    return code, said.getvalue(), (complaints.getvalue().strip().splitlines() or ["no message"])[-1]


def reduced(picture: Path) -> None:
    """Writes a picture again with :data:`SMALL_COLORS` colours, without dithering."""
    with Image.open(picture) as opened:
        few = opened.convert("RGB").quantize(SMALL_COLORS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)


def differing(folder: Path, again: Path) -> list[str]:
    """Names of the pictures drawn again that are missing in the folder or differ from those there in a byte."""
    return [
        path.name
        for path in sorted(again.iterdir())
        if not (folder / path.name).exists() or not filecmp.cmp(path, folder / path.name, shallow=False)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when all was drawn (and nothing differs), 1 when not, 2 for a wrong call."""
    parser = argparse.ArgumentParser(description="Draws every figure again from saved results.")
    parser.add_argument("results", type=Path, help="folder of results")
    parser.add_argument("-o", "--out", type=Path, default=Path("pictures"), help="folder for the pictures")
    parser.add_argument("--format", default="pdf", choices=["pdf", "png"])
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="these figures")
    parser.add_argument("--check", action="store_true", help="compare with the pictures in the folder instead")
    parser.add_argument("--small", action="store_true", help="pictures for the documentation, .png")
    chosen = parser.parse_args(arguments)
    wanted = ("png" if chosen.small else chosen.format, chosen.only, chosen.small)
    sys.path.insert(0, str(FIGURES))
    chosen.out.mkdir(parents=True, exist_ok=True)
    if not chosen.check:
        outcome = draw(chosen.results, chosen.out, *wanted)
        changed: list[str] = []
    else:
        with tempfile.TemporaryDirectory() as again:
            outcome = draw(chosen.results, Path(again), *wanted)
            changed = differing(chosen.out, Path(again))
    for name, what in outcome.items():
        if what == "no results":
            print(f"{name}: no results in {chosen.results}")
    for picture in changed:
        print(f"{picture}: differs")
    unknown = [name for name in chosen.only if name not in outcome]
    if unknown:
        print(f"no such figure: {', '.join(unknown)}", file=sys.stderr)
        return 2
    return int(bool(changed) or any(what != "drawn" for what in outcome.values()))


if __name__ == "__main__":
    sys.exit(main())
