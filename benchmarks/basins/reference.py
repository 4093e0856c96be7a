"""Reference trajectories: SciPy's DOP853 at rtol 1e-12, kept outside of the repository.

Stop rules end different methods at different times, so an end state is compared with the reference at its own time.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from peers import cache_folder
from problems import Problem
from scipy.integrate import solve_ivp

COUNT = 128
"""The first so many starts have a reference."""

QUIET = 1e-10
"""Where the gradient is below this the reference counts as arrived and stands still."""

THINNING = 4
TOLERANCES = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-15}


@dataclass(frozen=True)
class Reference:
    """Knots (times, states) of each reference trajectory; between knots it is integrated again."""

    problem: Problem
    times: list[np.ndarray]
    states: list[np.ndarray]

    def at(self, index: int, time: float) -> np.ndarray:
        """The state of trajectory `index` at that flow time."""
        knot = int(np.searchsorted(self.times[index], time, side="right")) - 1
        begin, state = self.times[index][knot], self.states[index][knot]
        if time <= begin or knot == len(self.times[index]) - 1:
            return state
        field = self.problem.velocity_rows
        return solve_ivp(lambda _, y: field(y), (begin, time), state, **TOLERANCES).y[:, -1]

    def errors(self, ends: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Euclidean distances of end states, and of their losses, from the reference at the same times."""
        count = min(len(ends), len(self.times))
        exact = np.array([self.at(index, times[index]) for index in range(count)])
        points = np.linalg.norm(ends[:count] - exact, axis=1)
        return points, np.abs(self.problem.loss_rows(ends[:count]) - self.problem.loss_rows(exact))


def load(problem: Problem, count: int = COUNT) -> Reference:
    """The reference of `problem`, computed on first use (a minute or less)."""
    starts = problem.starts(count)
    digest = hashlib.sha256(starts.tobytes())
    for name in sorted(problem.data):
        digest.update(np.ascontiguousarray(problem.data[name]).tobytes())
    file = cache_folder() / f"reference-{problem.name}-{digest.hexdigest()[:16]}.npz"
    if file.exists():
        with np.load(file) as stored:
            lengths, times, states = stored["lengths"], stored["times"], stored["states"]
    else:
        runs = [_trajectory(problem, start) for start in starts]
        lengths = np.array([len(times) for times, _ in runs])
        times, states = np.concatenate([run[0] for run in runs]), np.concatenate([run[1] for run in runs])
        np.savez(file, lengths=lengths, times=times, states=states)
    cuts = np.cumsum(lengths)[:-1]
    return Reference(problem, np.split(times, cuts), np.split(states, cuts))


def _trajectory(problem: Problem, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every fourth step of the reference from `start`, and its last one."""

    def arrived(_, y):
        return np.linalg.norm(problem.velocity_rows(y)) - QUIET

    arrived.terminal = True
    run = solve_ivp(lambda _, y: problem.velocity_rows(y), (0.0, problem.t1), start, events=arrived, **TOLERANCES)
    kept = sorted({*range(0, len(run.t), THINNING), len(run.t) - 1})
    return run.t[kept], run.y.T[kept]
