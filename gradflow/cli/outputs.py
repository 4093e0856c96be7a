"""The folder of results: looked at before anything is computed, so that no result is lost for want of a place."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gradflow import store


@contextlib.contextmanager
def reserved(folder: Path, names: Iterable[str], overwrite: bool) -> Iterator[Path]:
    """`folder`, made if missing and checked to take files of these `names`; removed again if nothing came to be.

    Raises:
        OSError: the folder cannot be made or written, or a file is there already and `overwrite` is False.
    """
    made = _make(folder)
    try:
        for name in names:
            _refuse_to_replace(folder / name, overwrite)
            store.check_writable(folder / name, overwrite, "out")
        yield folder
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()  # refuses a folder that holds anything


def _refuse_to_replace(path: Path, overwrite: bool) -> None:
    if path.is_file() and not overwrite:
        raise FileExistsError(
            f"`--out` must be a folder without earlier results, but got {path.parent}, and {path} is there already. "
            "Choose another folder with --out, or add --overwrite to replace it."
        )


def save_pictures(figure: Any, paths: Iterable[Path]) -> list[Path]:
    """Writes `figure` to each of the paths; its layout is worked out for the first and kept for the others."""
    from gradflow import plotting

    written = []
    for path in paths:
        written.append(plotting.save_figure(figure, path))
        figure.set_layout_engine("none")
    return written


def _make(folder: Path) -> list[Path]:
    """Makes the folder and its missing parents, and returns those that were made, innermost first."""
    missing = []
    place = Path(os.path.abspath(folder))
    while not place.exists() and place != place.parent:
        missing.append(place)
        place = place.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            error.errno, f"The folder for the results cannot be made ({error.strerror}); choose another one with --out",
            str(folder),
        ) from error  # fmt: skip
    return missing
