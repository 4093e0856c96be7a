"""Counts what JAX compiles, by its own monitoring; a program read from disk counts, one in memory does not."""

import contextlib

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def counted():
    """Gives a list that grows by one for each program compiled inside."""
    programs = []

    def note(event, seconds, **about):
        if event == COMPILED:
            programs.append(about)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield programs
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
