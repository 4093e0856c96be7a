"""Rank patterns of the critical points of deep linear networks: which exist, and what they decide. Integers only.

Split off what a critical point has captured, and the rest is a critical point with product zero of a smaller network
``Z_1, ..., Z_l`` (:mod:`gradflow.critical_sets.deep_linear.construction`) on spaces ``V_0, ..., V_l``: missed
inputs, hidden
units, missed outputs. With the target's map ``M: V_l -> V_0`` of the missed singular values the spaces form a
cycle of l + 1 arrows, and criticality says exactly that **every path of l arrows vanishes**. By the structure of
nilpotent representations of a cyclic quiver such a point is, up to a choice of bases, a direct sum of *strings*
``(start, length)``: one basis vector in each of `length <= l` consecutive spaces, each sent to the next and the last
to zero.
So there are finitely many patterns, each determined by the ranks of its paths. Arrow v leads from ``V_v`` to
``V_{v+1}`` and is ``Z_{v+1}``; arrow l leads from ``V_l`` to ``V_0`` and is M.

This module knows no data and no weights.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np

String: TypeAlias = tuple[int, int]
"""(start, length): a basis vector in each of the spaces start, ..., start + length - 1, counted around the cycle."""

Ranks: TypeAlias = tuple[tuple[int, ...], ...]
"""``ranks[v][n]``: rank of the path of n arrows that starts at ``V_v``, for n = 0 (the dimension of V_v) to l - 1."""


def all_strings(num_layers: int) -> tuple[String, ...]:
    """The ``l (l + 1)`` strings of a cycle of l + 1 spaces, the longest first."""
    return tuple((start, length) for length in range(num_layers, 0, -1) for start in range(num_layers + 1))


def rank_patterns(dims: tuple[int, ...], num_missed: int) -> Iterator[Ranks]:
    """Every rank pattern with these dimensions ``(dim V_0, ..., dim V_l)`` and ``rank M = num_missed``.

    All of them occur: :func:`gradflow.critical_sets.deep_linear.sample` draws members of each.
    """
    num_layers = len(dims) - 1
    strings = [string for string in all_strings(num_layers) if string[1] > 1]
    spaces = [_spaces(string, num_layers) for string in strings]

    def extend(index: int, left: tuple[int, ...], missed: int, chosen: dict[String, int]) -> Iterator[Ranks]:
        if index == len(strings):
            if missed == 0:
                singles = {(space, 1): count for space, count in enumerate(left) if count}
                yield ranks_of_strings({**chosen, **singles}, num_layers)
            return
        through = _passes(strings[index], num_layers, num_layers)
        most = min(left[space] for space in spaces[index])
        for count in range((min(most, missed) if through else most) + 1):
            remaining = tuple(dim - count * (space in spaces[index]) for space, dim in enumerate(left))
            grown = {**chosen, strings[index]: count} if count else chosen
            yield from extend(index + 1, remaining, missed - count * through, grown)

    yield from extend(0, dims, num_missed, {})


def ranks_of_strings(strings: Mapping[String, int], num_layers: int) -> Ranks:
    """The rank table of a direct sum: a path has one rank for each string that runs along it."""
    size = num_layers + 1
    table = np.zeros((size, num_layers), dtype=int)
    for (start, length), count in strings.items():
        for first in range(length):
            for arrows in range(length - first):
                table[(start + first) % size, arrows] += count
    return tuple(tuple(map(int, row)) for row in table)


def strings_of_ranks(ranks: Ranks) -> dict[String, int] | None:
    """How often each string occurs, by inclusion and exclusion; None when no point has these ranks."""
    size, num_layers = len(ranks), len(ranks) - 1

    def rank(start: int, arrows: int) -> int:
        return ranks[start % size][arrows] if arrows < num_layers else 0

    counts = {
        (start, length): rank(start, length - 1) - rank(start - 1, length) - rank(start, length)
        + rank(start - 1, length + 1)
        for start, length in all_strings(num_layers)
    }  # fmt: skip
    if min(counts.values()) < 0 or ranks_of_strings(counts, num_layers) != ranks:
        return None
    return {string: count for string, count in counts.items() if count}


def is_strict(ranks: Ranks) -> bool:
    """True when two arrows ``Z_j, Z_i`` (j < i) can be left out so that both remaining arcs of the cycle are nonzero.

    That is a direction of negative curvature of a point that captures the largest singular values: the criterion of
    Achour, Malgouyres and Gerchinovitz, with ``rank A_(i-1,j+1) > r`` and ``A_(j-1,1) R T^T (I - P) A_(l,i+1) != 0``.
    """
    return pivot(ranks) is not None


def pivot(ranks: Ranks) -> tuple[int, int] | None:
    """The layers (i, j), 1-based, that :func:`is_strict` leaves out, the outermost first; None when there are none."""
    num_layers = len(ranks) - 1
    for i in range(num_layers, 1, -1):
        for j in range(1, i):
            if ranks[j][i - 1 - j] > 0 and ranks[i][num_layers - i + j] > 0:
                return i, j
    return None


def category(ranks: Ranks, is_greedy: bool) -> str:
    """Paper 002's word for a point with these ranks, with the zero singular values as one more group.

    ``"global"``: the largest values are captured and nothing positive is missed, or some space is full.
    ``"deep-non-optimal"``: for some k the network ``A_(l,k+2) A_{k+1}`` on the data ``A_(k,1) X`` captures a smaller
    value (zero included) while it misses a larger one. ``"deep-optimal"``: not so, and ``A_l A_{l-1}`` is not a global
    minimiser on its data. ``"remaining"``: neither; its members may be strict or not.

    Source: paper 002, section 3 and Theorem 4, corrected.
    """
    num_layers = len(ranks) - 1
    is_full = any(ranks[space][0] == 0 for space in range(1, num_layers + 1))
    if is_greedy and (ranks[num_layers][1] == 0 or is_full):
        return "global"
    captures_zero = any(
        ranks[num_layers][k + 1] > 0 and ranks[k + 1][num_layers - k - 1] > 0 for k in range(num_layers - 1)
    )
    if not is_greedy or captures_zero:
        return "deep-non-optimal"
    return "deep-optimal" if ranks[num_layers][num_layers - 1] > 0 else "remaining"


def residual_inertia(ranks: Ranks) -> tuple[int, int]:
    """(negative, positive) eigenvalues of the Hessian of ``1/2 ||Z_l ... Z_1 - M^T||^2`` at a point of this pattern.

    The form ``1/2 ||sum_h Z_(l,h+1) d_h Z_(h-1,1)||^2 - sum_{j<i} tr(Z_(j-1,1) M Z_(l,i+1) d_i Z_(i-1,j+1) d_j)``
    splits over pairs of strings, so its inertia is a sum over pairs of a small table.

    Source: computed in an orthonormal basis of strings; that it is the same in every basis is an experiment (no
    member of several thousand differed), not proved here.
    """
    strings = strings_of_ranks(ranks)
    assert strings is not None
    num_layers, members = len(ranks) - 1, list(strings.items())
    total = np.zeros(2, dtype=int)
    for index, (string, count) in enumerate(members):
        alone = np.array(_inertia(num_layers, (string,)))
        twice = np.array(_inertia(num_layers, (string, string)))
        total += count * alone + count * (count - 1) // 2 * (twice - 2 * alone)
        for other, more in members[:index]:
            both = np.array(_inertia(num_layers, (string, other)))
            total += count * more * (both - alone - np.array(_inertia(num_layers, (other,))))
    return int(total[0]), int(total[1])


def string_matrices(strings: Mapping[String, int], num_layers: int) -> list[np.ndarray]:
    """The l + 1 arrows of a direct sum of strings, matrices of zeros and ones.

    In every space the basis vectors come in the order of the sorted strings, except that those of ``V_l`` which M
    sends on
    come first, and so do their images in ``V_0``.
    """
    size = num_layers + 1
    copies = [string for string, count in sorted(strings.items()) for _ in range(count)]
    copies.sort(key=lambda string: not _passes(string, num_layers, num_layers))
    position: list[dict[int, int]] = [{} for _ in range(size)]
    for number, string in enumerate(copies):
        for space in _spaces(string, num_layers):
            position[space][number] = len(position[space])
    arrows = [np.zeros((len(position[(space + 1) % size]), len(position[space]))) for space in range(size)]
    for number, string in enumerate(copies):
        for space in _spaces(string, num_layers)[:-1]:
            target = (space + 1) % size
            arrows[space][position[target][number], position[space][number]] = 1.0
    return arrows


def _spaces(string: String, num_layers: int) -> tuple[int, ...]:
    start, length = string
    return tuple((start + step) % (num_layers + 1) for step in range(length))


def _passes(string: String, arrow: int, num_layers: int) -> bool:
    return arrow in _spaces(string, num_layers)[:-1]


@functools.lru_cache(maxsize=4096)
def _inertia(num_layers: int, copies: tuple[String, ...]) -> tuple[int, int]:
    counts = {string: copies.count(string) for string in copies}
    arrows = string_matrices(counts, num_layers)
    dims = [arrow.shape[1] for arrow in arrows]
    shapes = [(dims[h], dims[h - 1]) for h in range(1, num_layers + 1)]
    sizes = np.cumsum([0, *(rows * columns for rows, columns in shapes)])
    if sizes[-1] == 0:
        return 0, 0
    form = np.zeros((sizes[-1], sizes[-1]))

    def path(first: int, last: int, with_target: bool = False) -> np.ndarray:
        """``Z_(last,first)``, or ``Z_(last,1) M Z_(l,first)``."""
        result = np.eye(dims[first - 1])
        for h in range(first, (num_layers if with_target else last) + 1):
            result = arrows[h - 1] @ result
        return path(1, last) @ arrows[num_layers] @ result if with_target else result

    jacobian = np.hstack(
        [np.kron(path(h + 1, num_layers), path(1, h - 1).T) for h in range(1, num_layers + 1)]
    )  # row-major: vec(B d C) = (B kron C^T) vec(d)
    form += jacobian.T @ jacobian
    for i in range(2, num_layers + 1):
        for j in range(1, i):
            around, inner = path(i + 1, j - 1, with_target=True), path(j + 1, i - 1)
            # tr(around d_i inner d_j) = sum around[a, b] d_i[b, c] inner[c, e] d_j[e, a]
            block = np.einsum("ab,ce->bcea", around, inner).reshape(sizes[i] - sizes[i - 1], sizes[j] - sizes[j - 1])
            form[sizes[i - 1] : sizes[i], sizes[j - 1] : sizes[j]] -= block
            form[sizes[j - 1] : sizes[j], sizes[i - 1] : sizes[i]] -= block.T
    values = np.linalg.eigvalsh(form)
    return int(np.sum(values < -1e-9)), int(np.sum(values > 1e-9))
