"""What two processes must have in common for their numbers to be the same numbers: versions and precision."""

import concurrent.futures
import importlib.metadata
import os
import sys
from collections.abc import Mapping

from gradflow.__about__ import __version__

PACKAGES = ("jax", "jaxlib", "numpy", "scipy")


def process_facts() -> dict[str, str]:
    """Which versions this process has, and in which precision JAX computes unless told otherwise.

    JAX is not imported for it: its setting is read from the environment unless it is loaded. A scope of the present
    thread, ``with jax.enable_x64(True)``, does not count, since other threads and processes are outside of it.
    """
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        "gradflow": __version__,
        **{package: _version(package) for package in PACKAGES},
        "JAX_ENABLE_X64": str(int(_is_double())),
    }


def _is_double() -> bool:
    jax = sys.modules.get("jax")
    if jax is None:
        return os.environ.get("JAX_ENABLE_X64", "0").lower() in ("1", "true", "yes", "y", "t", "on")
    with concurrent.futures.ThreadPoolExecutor(1) as elsewhere:
        return bool(elsewhere.submit(lambda: jax.config.jax_enable_x64).result())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """In words, what differs: ``jax 0.10.2 here and 0.9.0 there``; empty if nothing does."""
    return ", ".join(
        f"{name} {value} here and {theirs.get(name, 'unknown')} there"
        for name, value in ours.items()
        if theirs.get(name) != value
    )
