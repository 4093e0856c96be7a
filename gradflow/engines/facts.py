"""What two processes must have in common for their numbers to be the same numbers: versions and precision."""

from collections.abc import Callable, Mapping

PACKAGES = ("gradflow", "jax", "jaxlib", "numpy", "scipy")


def facts_reader() -> Callable[[], dict[str, str]]:
    """A function that says, in whichever process it runs, which versions it has and in which precision JAX computes.

    It carries everything with it, so it also runs where gradflow is missing or another one is installed. JAX is not
    imported for it: its setting is read from the environment unless it is loaded.
    """
    packages = PACKAGES

    def facts() -> dict[str, str]:
        import importlib.metadata
        import os
        import sys

        found = {"python": ".".join(map(str, sys.version_info[:2]))}
        for package in packages:
            try:
                found[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                found[package] = "not installed"
        try:
            found["gradflow"] = importlib.import_module("gradflow.__about__").__version__
        except ImportError:
            found["gradflow"] = "not installed"
        jax = sys.modules.get("jax")
        if jax is not None:
            is_double = bool(jax.config.values["jax_enable_x64"])
        else:
            is_double = os.environ.get("JAX_ENABLE_X64", "0").lower() in ("1", "true", "yes", "y", "t", "on")
        found["JAX_ENABLE_X64"] = str(int(is_double))
        return found

    return facts


def differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """In words, what differs: ``jax 0.10.2 here and 0.9.0 there``; empty if nothing does."""
    return ", ".join(
        f"{name} {value} here and {theirs.get(name, 'unknown')} there"
        for name, value in ours.items()
        if theirs.get(name) != value
    )
