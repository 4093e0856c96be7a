"""Gradient descent itself: compiled steps in chunks, and a host loop that keeps rows, shows progress and names the end.

:func:`descend` is the explicit Euler method of a flow with a fixed step, momentum and batches allowed. It shares its
result's axis, flow time, with :func:`gradflow.integrate`, and nothing of its machinery. A numerical outcome is a
:class:`DescentStatus`, never an exception and never a row of NaN. It knows nothing of what descent is compared with.
"""

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from tqdm import tqdm

from gradflow import checks
from gradflow.descent.batches import Batches
from gradflow.descent.modified import as_flow
from gradflow.descent.outcomes import Descent, DescentStatus
from gradflow.descent.rules import UpdateRule
from gradflow.flow import AbstractFlow, GradientFlow
from gradflow.precision import as_params, in_double, require_concrete
from gradflow.problem import AbstractProblem
from gradflow.recording import MAX_ENTRIES, MAX_ROWS
from gradflow.solvers.step_control import norm
from gradflow.types import Array, Params, Scalar

SLOTS = 128
"""Most rows of one chunk of steps; fewer where there are many parameters."""

CHUNK_SECONDS = 0.2
"""About how long a chunk of steps takes: how soon Ctrl-C is heard, and how often progress is shown."""

FIRST_CHUNK = 64
"""Steps of the first chunk, whose duration is not yet known."""

FEW_ROWS = 200
"""Rows kept by default where they are dear, and the fewest that anybody may ask for."""

NEVER = np.iinfo(np.int64).max
"""A step that is never reached."""


@in_double
def descend(
    flow: AbstractFlow | AbstractProblem,
    params0: Params,
    learning_rate: float,
    num_steps: int,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    batches: Any = None,
    save_every: int | None = None,
    save_steps: Any = None,
    max_norm: float | None = None,
    progress: bool = True,
) -> Descent:
    """The iterates of gradient descent with a fixed learning rate, from `params0` at rest.

    ``W_{k+1} = W_k - eta grad L(W_k)``, the explicit Euler method of the flow with step eta; with momentum and
    Nesterov's method as :class:`~gradflow.descent.UpdateRule` says; with `batches` the gradient is that of a batch.

    Args:
        flow: a flow, in whose coordinates is descended, or a problem for its gradient flow.
        params0: the start.
        learning_rate: eta (dimensionless), positive. The loss is summed over samples unless the problem says "mean":
            a learning rate of a mean loss is divided by their number here.
        num_steps: steps to make.
        momentum: beta in [0, 1).
        nesterov: Nesterov's method in place of the heavy ball.
        batches: sample numbers ``(steps, batch)`` as :func:`~gradflow.descent.epochs` makes them; the batch gradient
            is scaled so that its mean over an epoch is the full gradient.
        save_every: steps between rows; by default as few as keep the number of rows bounded, 1 for up to some thousand
            steps. Every row costs a full loss, so with batches there are some hundred rows by default.
        save_steps: the steps to keep instead, increasing. The start and the last step are always kept.
        max_norm: norm beyond which descent has left; default 1e4 times the largest of 1, ``||params0||`` and the norm
            of a minimiser where one is known.
        progress: show a progress line on a terminal after two seconds.

    Returns:
        A frozen :class:`~gradflow.descent.Descent`; look at its `status`.

    Accuracy: each step is rounded once, about 1e-16 of the weights.

    Raises:
        InputError: a wrong call.
    """
    clock = time.monotonic()
    flow = as_flow(flow)
    require_concrete("descend", flow, params0, learning_rate)
    rule = UpdateRule(learning_rate, momentum, nesterov)
    num_steps = checks.integer("num_steps", num_steps)
    params0 = as_params(params0)
    size = _size(params0)
    scale = max(1.0, size, flow.problem.minimiser_norm or 0.0)
    max_norm = 1e4 * scale if max_norm is None else checks.real("max_norm", max_norm, above=0.0, infinite=True)
    checks.require(max_norm > size, "max_norm", "be larger than the norm of the start", max_norm, f"It is {size:.6g}.")
    limit = int(min(MAX_ROWS, max(FEW_ROWS, MAX_ENTRIES // _num_entries(params0))))
    rows = _saved_steps(save_every, save_steps, num_steps, limit, limit if batches is None else FEW_ROWS)
    drawn = None
    if batches is not None:
        checks.require(type(flow) is GradientFlow, "flow", "be the gradient flow of a Regression to use batches",
                       type(flow).__name__)  # fmt: skip
        drawn = Batches(flow.problem, batches, num_steps)
    run = _Run(flow, params0, rule, drawn, max_norm, num_steps, rows)
    return run.result(run.until_done(progress), time.monotonic() - clock)


def _num_entries(params: Params) -> int:
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params))


def _saved_steps(every: Any, chosen: Any, num_steps: int, limit: int, usual: int) -> np.ndarray:
    """The steps after the start that become rows, the last one among them: at most `limit`, by default `usual`."""
    checks.require(every is None or chosen is None, "save_every", "be left out when `save_steps` is given", every)
    if chosen is not None:
        steps = np.atleast_1d(np.asarray(chosen))
        is_whole = steps.ndim == 1 and steps.dtype.kind in "iu" and bool(np.all(np.diff(steps) > 0))
        checks.require(is_whole, "save_steps", "be increasing whole numbers", steps.tolist()[:6])
        is_inside = steps.size == 0 or (steps[0] >= 0 and steps[-1] <= num_steps)
        checks.require(is_inside, "save_steps", f"lie between 0 and num_steps = {num_steps}", steps.tolist()[:6])
        steps = steps.astype(np.int64)
    else:
        stride = -(-num_steps // usual) if every is None else checks.integer("save_every", every)
        steps = np.arange(0, num_steps + 1, stride, dtype=np.int64)
    steps = np.union1d(steps[steps > 0], [num_steps])
    checks.require(len(steps) <= limit + 1, "save_every", f"leave at most {limit} rows of that many parameters",
                   f"{len(steps)} rows", "Save more rarely.")  # fmt: skip
    return steps


class _State(eqx.Module):
    """Where descent stands: `tried` is the iterate that was refused when `is_refused`, `params` the last good one."""

    params: Params
    velocity: Params
    tried: Params
    step: Int[Array, ""]
    is_refused: Bool[Array, ""]
    slot: Int[Array, ""]
    losses: Float[Array, " slots"]
    rows: Params


class _Numbers(eqx.Module):
    """The rule's numbers and the limit on the norm, as arrays: no learning rate is compiled in."""

    rate: Scalar
    momentum: Scalar
    lookahead: Scalar
    max_norm: Scalar


@eqx.filter_jit
def _advance(
    flow: AbstractFlow, batches: Batches | None, numbers: _Numbers, state: _State, targets: Int[Array, " slots"],
    until: Int[Array, ""],
) -> _State:  # fmt: skip
    """Steps until `until` or a refused iterate; those of number ``targets[slot]`` become the rows of the chunk."""

    def field(params: Params, step: Any) -> Params:
        if batches is None:
            return flow.vector_field(params)
        return jax.tree.map(jnp.negative, batches.gradient(params, step))

    def body(state: _State) -> _State:
        ahead = jax.tree.map(lambda w, v: w + numbers.lookahead * v, state.params, state.velocity)
        move = field(ahead, state.step)
        velocity = jax.tree.map(lambda v, f: numbers.momentum * v + numbers.rate * f, state.velocity, move)
        tried = jax.tree.map(jnp.add, state.params, velocity)
        is_row = state.step + 1 == targets[state.slot]
        value = jax.lax.cond(is_row, lambda w: jnp.asarray(flow.problem.loss(w), float), lambda _: jnp.zeros(()), tried)
        is_good = _is_finite(tried) & (norm(tried) <= numbers.max_norm) & jnp.isfinite(value)

        def kept(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(is_good, a, b), new, old)

        return _State(
            params=kept(tried, state.params),
            velocity=kept(velocity, state.velocity),
            tried=tried,
            step=state.step + is_good,
            is_refused=~is_good,
            slot=state.slot + (is_row & is_good),
            losses=jnp.asarray(state.losses).at[state.slot].set(value),
            rows=jax.tree.map(lambda rows, new: rows.at[state.slot].set(new), state.rows, tried),
        )

    fresh = eqx.tree_at(lambda s: s.slot, state, jnp.zeros_like(state.slot))
    return jax.lax.while_loop(lambda s: (s.step < until) & ~s.is_refused, body, fresh)


@eqx.filter_jit
def _loss_at(problem: AbstractProblem, params: Params) -> Scalar:
    return problem.loss(params)


def _size(params: Params) -> float:
    """The norm, on the host: nothing is compiled for it; infinite where squares overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(sum(np.sum(np.square(np.asarray(leaf))) for leaf in jax.tree.leaves(params))))


def _is_finite(tree: Params) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


class _Run:
    """The mutable middle of :func:`descend`; it never leaves this module."""

    def __init__(
        self, flow: AbstractFlow, params0: Params, rule: UpdateRule, batches: Batches | None, max_norm: float,
        num_steps: int, saved: np.ndarray,
    ) -> None:  # fmt: skip
        self.rule, self.params0, self.num_steps, self.saved = rule, params0, num_steps, saved
        self.flow, self.batches = jax.tree.map(_on_device, (flow.compact(), batches))
        array = jnp.asarray
        self.numbers = _Numbers(array(rule.learning_rate), array(rule.momentum), array(rule.lookahead), array(max_norm))
        slots = int(min(SLOTS, max(4, MAX_ENTRIES // (20 * _num_entries(params0)))))
        # From NumPy: a jnp.zeros of every shape would be compiled.
        zeros = jax.tree.map(lambda leaf: array(np.zeros(leaf.shape)), params0)
        rows = jax.tree.map(lambda leaf: array(np.zeros((slots, *leaf.shape))), params0)
        self.state = _State(
            params=params0, velocity=zeros, tried=params0, step=array(0), is_refused=array(False), slot=array(0),
            losses=array(np.zeros(slots)), rows=rows,
        )  # fmt: skip
        self.steps: list[int] = [0]
        self.rows: list[Params] = [jax.tree.map(np.asarray, params0)]
        self.losses: list[float] = [self._loss(params0)]

    def until_done(self, progress: bool) -> DescentStatus:
        """Chunks until all steps are made, an iterate is refused, or Ctrl-C."""
        if not np.isfinite(self.losses[0]):
            return DescentStatus.NONFINITE
        chunk, done = FIRST_CHUNK, 0
        bar = tqdm(total=self.num_steps, disable=None if progress else True, delay=2, unit=" steps", leave=False,
                   desc="descending")  # fmt: skip
        try:
            with bar:
                while done < self.num_steps:
                    begun = time.monotonic()
                    self._chunk(chunk)
                    seconds = time.monotonic() - begun
                    bar.update(int(self.state.step) - done)
                    is_first, done = done == 0, int(self.state.step)
                    if bool(self.state.is_refused):
                        return self._refusal()
                    if not is_first:  # the first one compiles
                        factor = CHUNK_SECONDS / max(seconds, 1e-3)
                        chunk = int(np.clip(chunk * np.clip(factor, 0.1, 8.0), 1, 2**40))
        except KeyboardInterrupt:
            return DescentStatus.INTERRUPTED
        return DescentStatus.COMPLETED

    def _chunk(self, length: int) -> None:
        state = self.state
        slots, first = len(state.losses), int(np.searchsorted(self.saved, int(state.step), side="right"))
        ahead = self.saved[first : first + slots]
        targets = np.full(slots + 1, NEVER)
        targets[: len(ahead)] = ahead
        until = min(int(state.step) + length, int(ahead[-1]))
        state = _advance(self.flow, self.batches, self.numbers, state, jnp.asarray(targets), jnp.asarray(until))
        count = int(state.slot)
        losses, rows = np.asarray(state.losses), jax.tree.map(np.asarray, state.rows)
        self.state = state
        self.steps += ahead[:count].tolist()
        self.losses += losses[:count].tolist()
        self.rows += [jax.tree.map(lambda leaf, i=index: np.array(leaf[i]), rows) for index in range(count)]

    def _refusal(self) -> DescentStatus:
        """Why the iterate that was tried last is not one."""
        tried = self.state.tried
        value, size = self._loss(tried), _size(tried)
        # Infinite weights beyond every norm, no loss there, or a loss that is no number although the norm is not large.
        if not np.isfinite(size) or np.isnan(value) or size <= float(self.numbers.max_norm):
            return DescentStatus.NONFINITE
        return DescentStatus.DIVERGED if value > self.losses[0] else DescentStatus.ESCAPED

    def _loss(self, params: Params) -> float:
        return float(_loss_at(self.flow.problem, params))

    def result(self, status: DescentStatus, seconds: float) -> Descent:
        """The frozen result; the last good iterate is its last row."""
        done = int(self.state.step)
        if done != self.steps[-1] and np.isfinite(value := self._loss(self.state.params)):
            self.steps.append(done)
            self.losses.append(value)
            self.rows.append(jax.tree.map(np.asarray, self.state.params))
        is_stopped = status not in (DescentStatus.COMPLETED, DescentStatus.INTERRUPTED)
        steps = np.asarray(self.steps)
        return Descent(
            steps=steps,
            times=steps * self.rule.flow_step,
            params=jax.tree.map(lambda *leaves: np.stack(leaves), *self.rows),
            losses=np.asarray(self.losses),
            start=self.rows[0],
            endpoint=self.rows[-1],
            status=status,
            stopped_at=(done + 1 if np.isfinite(self.losses[0]) else 0) if is_stopped else None,
            num_steps=self.num_steps,
            rule=self.rule,
            batch_size=None if self.batches is None else int(self.batches.table.shape[1]),
            max_norm=float(self.numbers.max_norm),
            wall_seconds=seconds,
        )


def _on_device(leaf: Any) -> Any:
    return jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf
