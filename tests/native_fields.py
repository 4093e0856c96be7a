"""A field written by the native kernel's writer as a function of NumPy rows, for tests of the field alone."""

import ctypes

import jax
import numpy as np
from llvmlite import ir

from gradflow.ensemble.native import library
from gradflow.ensemble.native.fields import Recorded, write_field


def native_field(function, size, width=8):
    """``(num, size) -> (num, size)``; scratch memory and the velocity are NaN before each call."""
    module = ir.Module("field")
    module.triple = library.llvm.get_default_triple()
    written, scratch = write_field(module, Recorded(function, size), width, name="run")
    written.linkage = ""
    engine, address = library._compiled(str(module))
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)(address)

    def field(rows):
        rows = np.asarray(rows, float)
        found = np.empty_like(rows)
        state, velocity, work = (_aligned(vectors * width) for vectors in (size, size, scratch + 1))
        for first in range(0, len(rows), width):
            some = rows[first : first + width]
            state[:] = np.resize(some, (width, size)).T.ravel()
            velocity[:] = work[:] = np.nan
            run(state.ctypes.data, velocity.ctypes.data, work.ctypes.data)
            assert np.all(np.isnan(work[scratch * width :])), "wrote beyond its scratch memory"
            found[first : first + width] = velocity.reshape(size, width).T[: len(some)]
        return found

    field.engine = engine
    return field


def jax_field(function, rows):
    """The same by JAX, in double precision, hardly optimised: compiling is what takes time."""
    with jax.enable_x64(True):
        compiled = jax.jit(jax.vmap(function), compiler_options={"xla_backend_optimization_level": 0})
        return np.asarray(compiled(np.asarray(rows, float)))


def _aligned(count):
    memory = np.zeros(count + 16)
    skip = (-memory.ctypes.data % 128) // 8
    return memory[skip : skip + count]
