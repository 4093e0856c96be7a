"""diffrax's Tsit5 under `jax.vmap`, plain and in chunks, tuned as hard as its interface allows.

Every row is compiled with XLA's fast flag for small products, stops by an event on the gradient norm, and runs forward
only. The rows "best chunk" try each chunk length with products as dots and as lane-wise sums, and keep the fastest.
"""

import time

import numpy as np
from problems import join

from peers import Method, Outcome

OPTIONS = {"xla_cpu_multi_thread_eigen": False}
CHUNKS = (16, 32, 64, 128)
PROBE = 512


class _Sums:
    """An array whose ``@`` is a sum of lane-wise products, which XLA fuses where it would call a routine for dots."""

    def __init__(self, array):
        self.array = array

    @property
    def mT(self):
        return _Sums(self.array.mT)

    @property
    def shape(self):
        return self.array.shape

    def __matmul__(self, other):
        return _Sums((self.array[:, :, None] * _plain(other)[None, :, :]).sum(axis=1))

    def __add__(self, other):
        return _Sums(self.array + _plain(other))

    def __sub__(self, other):
        return _Sums(self.array - _plain(other))

    def __mul__(self, other):
        return _Sums(self.array * _plain(other))

    def __truediv__(self, number):
        return _Sums(self.array / number)

    def __rsub__(self, other):
        return _Sums(_plain(other) - self.array)

    def sum(self, axes):
        return self.array.sum(axes)


def _plain(value):
    return value.array if isinstance(value, _Sums) else value


def _fields(problem, is_autodiff):
    """Velocity functions ``parts -> parts`` of one start, by the name of how they multiply."""
    import jax
    import jax.numpy as jnp

    dots = problem.constants(jnp.asarray, jnp.tanh)
    sums = problem.constants(lambda value: _Sums(jnp.asarray(value)), lambda value: _Sums(jnp.tanh(_plain(value))))
    has_products = any(len(shape) == 2 for shape in problem.shapes)
    wrapped = {"dots": (dots, lambda part: part)}
    if has_products:
        wrapped["sums"] = (sums, _Sums)

    def field(data, wrap):
        def loss(parts):
            return _plain(problem.loss(tuple(map(wrap, parts)), data))

        def velocity(parts):
            return tuple(map(_plain, problem.velocity(tuple(map(wrap, parts)), data)))

        def descent(parts):
            return jax.tree.map(jnp.negative, jax.grad(loss)(parts))

        return descent if is_autodiff else velocity

    return {name: field(*pair) for name, pair in wrapped.items()}


def _single(problem, velocity, rtol):
    """``parts -> (end parts, end time, steps)`` for one start."""
    import diffrax
    import jax
    import jax.numpy as jnp

    def square(parts):
        return sum(jnp.sum(part * part) for part in parts)

    event = diffrax.Event(lambda _, y, __, **___: square(velocity(y)) < problem.grad_tol**2)
    controller = diffrax.PIDController(
        rtol=rtol, atol=1e-3 * rtol, norm=lambda parts: jnp.sqrt(square(jax.tree.leaves(parts)) / problem.dim)
    )

    def solve(parts):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda _, y, __: velocity(y)),
            diffrax.Tsit5(),
            0.0,
            problem.t1,
            None,
            parts,
            stepsize_controller=controller,
            event=event,
            max_steps=None,
            adjoint=diffrax.ForwardMode(),
            saveat=diffrax.SaveAt(t1=True),
            throw=False,
        )
        return tuple(part[0] for part in solution.ys), solution.ts[0], solution.stats["num_steps"]

    return solve


def _compiled(solve, chunk, batch):
    """The whole batch in lock step (`chunk` None), or chunk after chunk, compiled for that batch."""
    import jax

    def every(parts):
        return jax.vmap(solve)(parts) if chunk is None else jax.lax.map(solve, parts, batch_size=chunk)

    return jax.jit(every, compiler_options=OPTIONS).lower(batch).compile()


def _batch(problem, starts):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    return tuple(jnp.asarray(part) for part in problem.split(starts))


def _run(program, batch):
    def run():
        parts, times, steps = program(batch)
        return Outcome(join(parts), np.asarray(times), float(np.asarray(steps).mean()))

    return run


def _plain_build(problem, rtol, starts, times):
    del times
    batch = _batch(problem, starts)
    return _run(_compiled(_single(problem, _fields(problem, False)["dots"], rtol), None, batch), batch)


_best: dict[tuple, tuple[str, int]] = {}


def _best_build(is_autodiff):
    def build(problem, rtol, starts, times):
        del times
        batch, fields = _batch(problem, starts), _fields(problem, is_autodiff)
        key = (problem.name, is_autodiff)
        if key not in _best and len(starts) < PROBE:
            return _run(_compiled(_single(problem, fields["dots"], rtol), 32, batch), batch)
        if key not in _best:
            _best[key] = _search(problem, fields, starts[:PROBE])
        form, chunk = _best[key]
        return _run(_compiled(_single(problem, fields[form], rtol), chunk, batch), batch)

    return build


def _search(problem, fields, starts):
    """The fastest form of products and chunk length at rtol 1e-8 on a few starts, the better of two runs each."""
    seconds, batch = {}, _batch(problem, starts)
    for form, velocity in fields.items():
        for chunk in CHUNKS:
            run = _run(_compiled(_single(problem, velocity, 1e-8), chunk, batch), batch)
            laps = []
            for _ in range(2):
                begun = time.process_time()
                run()
                laps.append(time.process_time() - begun)
            seconds[form, chunk] = min(laps)
    return min(seconds, key=seconds.get)


def _method(name, label, build, *, patience, measured_on_two=False):
    return Method(name, label, "diffrax", build, measured_on_two=measured_on_two, batched=True, patience=patience)


METHODS = (
    _method("diffrax-chunk", "diffrax Tsit5, best chunk", _best_build(False), patience=5.0, measured_on_two=True),
    _method("diffrax-chunk-autodiff", "diffrax Tsit5, best chunk, autodiff", _best_build(True), patience=5.0),
    _method("diffrax", "diffrax Tsit5, plain vmap", _plain_build, patience=20.0),
)
