"""Lanes of adaptive steps compiled by XLA: the kernel for every device and every function JAX can trace.

With Tsit5 the same method, orders, settings and facts as :mod:`gradflow.ensemble.native.kernel`, whose place it takes
on accelerators and where a field uses operations that the native writer does not know. All lanes step together; those
whose trajectory has ended keep still until a share of all lanes has, then the whole block of lanes is copied to a log
and the ended ones get the next starts. Nothing is scattered, and nothing returns to the host before the queue is
empty.

Accuracy: a lane's result does not depend on its neighbours beyond rounding (XLA may round differently for another
number of lanes, which is therefore fixed per problem).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradflow.ensemble.orders import (
    ESCAPED,
    FACTS,
    HORIZON,
    LEFT,
    MAX_REJECTS,
    NONFINITE,
    ORDERS,
    STALLED,
    STATIONARY,
    STEP_LIMIT,
)  # fmt: skip
from gradflow.ensemble.xla.methods import AbstractMethod

STEPS_BETWEEN = 8
"""Steps of all lanes between two looks at how many have ended."""

REFILL_SHARE = 0.25
"""Share of ended lanes at which they are refilled."""

CPU_OPTIONS = {"xla_cpu_multi_thread_eigen": False}
"""XLA's own threads make batched small products an order of magnitude slower."""

_PER_LANE = ("time", "step", "radius", "num_steps", "num_rejected", "rejects", "code", "grad_norm", "norm")


class Lanes(NamedTuple):
    """The lanes' state: components first, lanes last. `owner` is the start's number, -1 for a lane at rest."""

    y: Any
    slope: Any
    carried: Any
    numbers: dict[str, Any]
    orders: Any
    owner: Any


class Kernel:
    """Compiled lanes for a method on `size` parameters; `width` lanes at once (default by device)."""

    def __init__(self, method: AbstractMethod, size: int, width: int | None = None) -> None:
        self.size = size
        is_cpu = jax.default_backend() == "cpu"
        self.width = width or (_cpu_width(size) if is_cpu else 16384)
        self._run = jax.jit(partial(_run, method, self.width), compiler_options=CPU_OPTIONS if is_cpu else None)

    def __call__(self, starts: np.ndarray, orders: np.ndarray, settings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends ``(num, size)`` and facts ``(num, facts)`` of starts ``(num, size)`` under orders ``(num, orders)``."""
        num = len(starts)
        queue = max(self.width, 1 << (max(num, 1) - 1).bit_length())
        pad = lambda a: np.pad(np.asarray(a, float).T, ((0, 0), (0, queue - num)), mode="edge")  # noqa: E731
        with jax.enable_x64(True):
            log, used = self._run(pad(starts), pad(orders), np.asarray(settings, float), num)
            used = int(used)
            owner = np.asarray(log["owner"][:used])
            mine = owner >= 0
            ends, facts = np.empty((num, self.size)), np.empty((num, len(FACTS)))
            ends[owner[mine]] = np.moveaxis(np.asarray(log["y"][:used]), 1, -1)[mine]
            facts[owner[mine]] = np.moveaxis(np.asarray(log["facts"][:used]), 1, -1)[mine]
        return ends, facts


def _cpu_width(size: int) -> int:
    """Lanes whose work space stays in a core's second-level cache."""
    return int(np.clip(2 ** int(np.log2(4096 / size)), 16, 1024))


def _run(
    method: AbstractMethod, width: int, starts: Any, orders: Any, settings: Any, num: Any
) -> tuple[dict[str, Any], Any]:
    """The log of all blocks of lanes copied out, and how many there are."""
    size, queue = starts.shape
    threshold = max(1, int(REFILL_SHARE * width))
    slots = -(-queue // threshold) + 2
    log = {
        "y": jnp.zeros((slots, size, width)),
        "facts": jnp.zeros((slots, len(FACTS), width)),
        "owner": jnp.full((slots, width), -1),
    }
    place = jnp.arange(width)
    lanes = _begin(method, starts[:, :width], orders[:, :width], settings, jnp.where(place < num, place, -1))

    def is_busy(lanes: Lanes, following: Any) -> Any:
        mine = lanes.owner >= 0
        ended = jnp.sum((lanes.numbers["code"] != 0) & mine)
        return (ended < jnp.sum(mine)) & ~((following < num) & (ended >= threshold))

    def body(carry: tuple[Lanes, Any, Any, Any]) -> tuple[Lanes, Any, Any, Any]:
        lanes, log, following, slot = carry
        lanes = jax.lax.while_loop(
            lambda state: is_busy(state, following),
            lambda state: jax.lax.fori_loop(0, STEPS_BETWEEN, lambda _, s: _step(method, settings, s), state),
            lanes,
        )
        return _refill(method, starts, orders, settings, num, (lanes, log, following, slot))

    carry = (lanes, log, jnp.minimum(width, num), jnp.asarray(0))
    lanes, log, _, slot = jax.lax.while_loop(lambda c: jnp.any(c[0].owner >= 0), body, carry)
    return log, slot


def _begin(method: AbstractMethod, y: Any, orders: Any, settings: Any, owner: Any) -> Lanes:
    """Lanes at their starts, with slope, gradient norm and first step."""
    rtol, atol = settings[0], settings[1]
    told = dict(zip(ORDERS, orders, strict=True))
    carried, slope = method.begin(y)
    square, size = jnp.sum(slope**2, 0), jnp.sum(y**2, 0)
    grad_norm = jnp.sqrt(square)
    speed = jnp.sqrt(jnp.mean((slope / (atol + rtol * jnp.abs(y))) ** 2, 0))
    first = 0.05 / (speed * rtol ** (1 - method.exponent) + 1e-300)
    code = jnp.where(grad_norm <= told["quiet"], STATIONARY, jnp.where(told["time"] >= told["stop_time"], HORIZON, 0))
    code = jnp.where(square + size < jnp.inf, code, NONFINITE)
    zero = jnp.zeros(y.shape[1])
    numbers = dict.fromkeys(_PER_LANE, zero) | {
        "time": told["time"],
        "step": jnp.where(told["first_step"] == 0, first, told["first_step"]),
        "code": code.astype(float),
        "grad_norm": grad_norm,
        "norm": jnp.sqrt(size),
    }
    return Lanes(y, slope, carried, numbers, orders, owner)


def _refill(method: AbstractMethod, starts: Any, orders: Any, settings: Any, num: Any, carry: Any) -> Any:
    """Copies all lanes to the log and gives the ended ones their next starts."""
    lanes, log, following, slot = carry
    ended = (lanes.numbers["code"] != 0) & (lanes.owner >= 0)
    facts = jnp.stack([lanes.numbers[name] for name in FACTS])
    log = {
        "y": jax.lax.dynamic_update_index_in_dim(log["y"], lanes.y, slot, 0),
        "facts": jax.lax.dynamic_update_index_in_dim(log["facts"], facts, slot, 0),
        "owner": jax.lax.dynamic_update_index_in_dim(log["owner"], jnp.where(ended, lanes.owner, -1), slot, 0),
    }
    place = following + jnp.cumsum(ended) - 1
    takes = ended & (place < num)
    source = jnp.where(takes, place, 0)
    fresh = _begin(method, jnp.where(takes, starts[:, source], lanes.y), orders[:, source], settings,
                   jnp.where(takes, place, -1))  # fmt: skip
    choose = lambda new, old: jnp.where(takes, new, old)  # noqa: E731
    rest = lanes._replace(owner=jnp.where(ended, -1, lanes.owner))
    mixed = jax.tree.map(choose, fresh, rest)
    return mixed, log, jnp.minimum(following + jnp.sum(ended), num), slot + 1


def _step(method: AbstractMethod, settings: Any, lanes: Lanes) -> Lanes:
    """One attempted step of every lane that goes on."""
    rtol, atol, limit, max_norm, max_steps = settings
    told, was = dict(zip(ORDERS, lanes.orders, strict=True)), lanes.numbers
    live = (was["code"] == 0) & (lanes.owner >= 0)
    step = jnp.minimum(jnp.minimum(was["step"], told["max_step"]), limit / (was["radius"] + 1e-300))
    remaining = told["stop_time"] - was["time"]
    is_last = step >= remaining * (1 - 1e-12)
    length = jnp.where(is_last, remaining, step)
    new, error, carried, slope, bend, way = method.step(lanes.y, lanes.carried, lanes.slope, length)
    scale = atol + rtol * jnp.maximum(jnp.abs(lanes.y), jnp.abs(new))
    mean = jnp.mean((error / scale) ** 2, 0)
    square, size = jnp.sum(slope**2, 0), jnp.sum(new**2, 0)
    keep = live & (mean <= 1) & (square < jnp.inf)
    growth = jnp.where(mean < jnp.inf, jnp.clip(0.9 * mean ** (-0.5 * method.exponent), 0.2, 10.0), 0.2)
    proposed = length * growth
    proposed = jnp.where(keep & is_last, jnp.maximum(proposed, was["step"]), proposed)
    rejected = live & ~keep
    now = was | {
        "step": jnp.where(live, proposed, was["step"]),
        "radius": jnp.where(keep & (way > 1e-26 * size), jnp.sqrt(bend / way), was["radius"]),
        "time": jnp.where(keep, jnp.where(is_last, told["stop_time"], was["time"] + length), was["time"]),
        "grad_norm": jnp.where(keep, jnp.sqrt(square), was["grad_norm"]),
        "norm": jnp.where(keep, jnp.sqrt(size), was["norm"]),
        "num_steps": was["num_steps"] + live,
        "num_rejected": was["num_rejected"] + rejected,
        "rejects": jnp.where(rejected, was["rejects"] + 1, jnp.where(live, 0, was["rejects"])),
    }
    code = _code(now, told, (keep, is_last, mean < jnp.inf), max_norm, max_steps)
    now["code"] = jnp.where(live, code, was["code"])
    take = lambda a, b: jax.tree.map(lambda new, old: jnp.where(keep, new, old), a, b)  # noqa: E731
    kept = take((new, slope, carried), (lanes.y, lanes.slope, lanes.carried))
    return lanes._replace(y=kept[0], slope=kept[1], carried=kept[2], numbers=now)


def _code(now: dict[str, Any], told: dict[str, Any], truths: Any, max_norm: Any, max_steps: Any) -> Any:
    """Why a lane ends here, 0 when it goes on; the first reason that applies counts."""
    keep, is_last, known = truths
    is_stuck = (now["rejects"] >= MAX_REJECTS) | (now["step"] <= 4e-16 * now["time"])
    reasons = [
        (keep & ~(now["norm"] <= max_norm), ESCAPED),
        (keep & (now["grad_norm"] <= told["quiet"]), STATIONARY),
        (keep & (now["grad_norm"] > told["loud"]), LEFT),
        (keep & is_last, HORIZON),
        (is_stuck & known, STALLED),
        (is_stuck, NONFINITE),
        (now["num_steps"] >= max_steps, STEP_LIMIT),
    ]
    return jnp.select([truth for truth, _ in reasons], [float(code) for _, code in reasons], 0.0)
