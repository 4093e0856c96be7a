"""The hand-written AVX-512 kernel ``lanes.cpp``, compiled on first use: what this machine can do at most."""

import ctypes
import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path

import numpy as np

from peers import Method, Outcome, Unavailable, cache_folder

SOURCE = Path(__file__).with_name("lanes.cpp")
COMMAND = ("g++", "-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-w")
CAP = 2.8
"""The step times the spectral radius is kept below this; Tsit5 is stable up to about 3.5."""


@cache
def library() -> ctypes.CDLL:
    """The compiled kernel."""
    if "avx512f" not in Path("/proc/cpuinfo").read_text():
        raise Unavailable("the processor has no AVX-512")
    text = SOURCE.read_bytes()
    target = cache_folder() / f"lanes-{hashlib.sha256(text).hexdigest()[:16]}.so"
    if not target.exists():
        aside = target.with_suffix(f".{os.getpid()}")
        try:
            subprocess.run([*COMMAND, str(SOURCE), "-o", str(aside)], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Unavailable(f"the kernel could not be compiled: {error}") from error
        aside.replace(target)
    return ctypes.CDLL(str(target))


def integrate(problem, rtol, starts, *, cap, shrink=1.0, max_steps=10**7):
    """End states, times, gradient norms, steps and statuses (0: below the tolerance) of all `starts`.

    `cap` is c in ``h <= c / rho`` (0: none); `shrink` the smallest factor after an accepted step (1 as diffrax).
    """
    starts = np.ascontiguousarray(starts, dtype=np.float64)
    count = len(starts)
    target = np.ascontiguousarray(problem.data.get("target", np.zeros(1)))
    settings = np.array([problem.t1, rtol, 1e-3 * rtol, problem.grad_tol, cap, shrink])
    ends, times, norms = np.empty_like(starts), np.empty(count), np.empty(count)
    steps, statuses = np.empty(count, np.int32), np.empty(count, np.int8)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (ends, times, norms, steps, statuses)]
    code = library().integrate(
        ctypes.c_char(problem.name.encode()),
        target.ctypes.data_as(ctypes.c_void_p),
        starts.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_long(count),
        settings.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_long(max_steps),
        *pointers,
    )
    if code:
        raise Unavailable(f"the kernel has no field for problem {problem.name}")
    return ends, times, norms, steps, statuses


def _build(cap):
    def build(problem, rtol, starts, times):
        del times
        integrate(problem, rtol, starts[:8], cap=cap)

        def run():
            ends, end_times, _, steps, _ = integrate(problem, rtol, starts, cap=cap)
            return Outcome(ends, end_times, float(steps.mean()))

        return run

    return build


METHODS = (
    Method("native", "C++ AVX-512 lanes, capped", "native", _build(CAP), "ABC", measured_on_two=True, batched=True),
    Method("native-free", "C++ AVX-512 lanes, no cap", "native", _build(0.0), "ABC", batched=True),
)
