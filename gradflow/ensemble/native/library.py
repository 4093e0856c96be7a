"""From a flow to a machine-code function: written, optimised by LLVM, kept for the life of the process."""

import ctypes
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from gradflow.ensemble.native import arithmetic
from gradflow.ensemble.native.fields import Recorded, write_field
from gradflow.ensemble.native.kernel import work_size, write_run
from gradflow.ensemble.orders import FACTS, ORDERS, SETTINGS

_LOCK = threading.Lock()


class Kernel:
    """Machine code that takes starts of `size` parameters to their ends; safe to call from several threads at once."""

    def __init__(self, function: Callable[[Any], Any], size: int, width: int | None = None) -> None:
        recorded = Recorded(function, size)
        self.size = size
        self.width = width or default_width(size)
        module = ir.Module("gradflow")
        module.triple = llvm.get_default_triple()
        field, scratch = write_field(module, recorded, self.width)
        write_run(module, field, size, self.width)
        self.text = str(module)
        self.num_work = work_size(size, scratch) * self.width
        self._engine, address = _compiled(self.text)
        pointer = ctypes.c_void_p
        kind = ctypes.CFUNCTYPE(None, pointer, pointer, pointer, pointer, ctypes.c_int64, pointer, pointer)
        self._run = kind(address)

    def __call__(self, starts: np.ndarray, orders: np.ndarray, settings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends ``(num, size)`` and facts ``(num, facts)`` of starts ``(num, size)`` under orders ``(num, orders)``."""
        starts = np.ascontiguousarray(starts, float)
        orders = np.ascontiguousarray(orders, float)
        settings = np.ascontiguousarray(settings, float)
        assert starts.shape[1:] == (self.size,) and orders.shape == (len(starts), len(ORDERS))
        assert settings.shape == (len(SETTINGS),)
        ends, facts = np.empty_like(starts), np.zeros((len(starts), len(FACTS)))
        memory = np.zeros(self.num_work + 16)
        skip = (-memory.ctypes.data % 128) // 8
        work = memory[skip:]
        arrays = [a.ctypes.data for a in (work, starts, orders, settings)]
        self._run(*arrays, len(starts), ends.ctypes.data, facts.ctypes.data)
        return ends, facts


def default_width(size: int) -> int:
    """Lanes in a vector: more for few parameters, where one vector's instructions wait for each other."""
    return 16 if size <= 8 else 8


@lru_cache(maxsize=64)
def _compiled(text: str) -> tuple[Any, int]:
    with _LOCK:
        _prepare()
        machine = _machine()
        module = llvm.parse_assembly(text)
        module.verify()
        builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
        builder.getModulePassManager().run(module, builder)
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        return (engine, machine), engine.get_function_address("run")


def _machine() -> Any:
    features = llvm.get_host_cpu_features()
    flat = features.flatten()
    if features.get("avx512f"):
        flat += ",-prefer-256-bit"
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=flat, opt=3, jit=True
    )


@lru_cache(maxsize=1)
def _prepare() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    library = ctypes.CDLL(None)
    for name in (*arithmetic.EXTERNAL, "sin", "cos", "pow", "atan2", "exp2"):
        function = getattr(library, name, None) or getattr(ctypes.CDLL("libm.so.6"), name)
        llvm.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
