"""torchdiffeq and torchode: batched explicit solvers without a stop test, told each run's end time beforehand.

torchdiffeq has one time and one step for the whole batch, so run i is integrated over s in [0, 1] with t = s T_i;
torchode has a time, a step and an end for each run.
"""

from peers import Method, Outcome, Unavailable

WARM_UP = 4


def _torch(problem, starts, times):
    """torch, the batched field ``rows -> rows``, the starts and the end times as tensors."""
    try:
        import torch
    except ImportError as error:
        raise Unavailable(f"PyTorch cannot be imported: {error}") from error
    torch.set_num_threads(1)
    data = problem.constants(torch.as_tensor, torch.tanh)

    def field(rows):
        parts = problem.velocity(problem.split(rows), data)
        return torch.cat([part.reshape(len(rows), -1) for part in parts], dim=1)

    return torch, field, torch.as_tensor(starts), torch.as_tensor(times)


def _build_torchdiffeq(problem, rtol, starts, times):
    torch, field, rows, ends = _torch(problem, starts, times)
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        raise Unavailable(f"torchdiffeq cannot be imported: {error}") from error
    span = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def follow(count):
        scale = ends[:count, None]
        with torch.no_grad():
            return odeint(
                lambda _, y: scale * field(y), rows[:count], span, rtol=rtol, atol=1e-3 * rtol, method="dopri5"
            )[-1]

    follow(WARM_UP)
    return lambda: Outcome(follow(len(rows)).numpy(), times)


def _build_torchode(problem, rtol, starts, times):
    torch, field, rows, ends = _torch(problem, starts, times)
    try:
        import torchode
    except ImportError as error:
        raise Unavailable(f"torchode cannot be imported: {error}") from error
    term = torchode.ODETerm(lambda _, y: field(y))
    solver = torchode.AutoDiffAdjoint(
        torchode.Tsit5(term=term), torchode.IntegralController(atol=1e-3 * rtol, rtol=rtol, term=term)
    )

    def follow(count):
        ivp = torchode.InitialValueProblem(
            y0=rows[:count], t_start=torch.zeros(count, dtype=torch.float64), t_end=ends[:count]
        )
        with torch.no_grad():
            solution = solver.solve(ivp)
        return solution.ys[:, -1].numpy(), float(solution.stats["n_steps"].double().mean())

    follow(WARM_UP)

    def run():
        states, steps = follow(len(rows))
        return Outcome(states, times, steps)

    return run


METHODS = (
    Method("torchode", "torchode Tsit5, told its end", "torch", _build_torchode, needs_times=True, batched=True),
    Method(
        "torchdiffeq", "torchdiffeq dopri5, told its end", "torch", _build_torchdiffeq, needs_times=True, batched=True
    ),
)
