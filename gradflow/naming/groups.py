"""Groups of endpoints that are the same limit, as tallies that can be merged in any order.

While chunks come in, endpoints are only collected into small clusters: within the tolerance of a leader, the member
with the smallest sample number. Nothing is decided then. :func:`resolve` decides at the end, from all clusters at once:
clusters that all but coincide are one group, groups are separated by at least a hundred tolerances, and what lies
between is ambiguous. So the result does not depend on order or chunking as long as limits are either equal to the
tolerance or well apart, and where they are not it says so. Knows features, not what they are features of.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float, Int

from gradflow.naming.columns import norms, taken

MAX_GROUPS = 10_000
"""Clusters that are kept; the endpoints of further ones are only counted."""

CORE = 10.0
"""Clusters within this many tolerances of a group's centre belong to it..."""

BAND = 100.0
"""...and those within this many, but not that near, are ambiguous."""


@dataclass(frozen=True, eq=False)
class Features:
    """What tells endpoints apart, one row each.

    `keys` must agree exactly; `values` are compared entry by entry, ``|a - b| <= tolerance max(1, |b|)``; the first
    one should be the loss, because it is searched by. `loss` and `params` are carried along.
    """

    keys: Int[np.ndarray, "num num_keys"]
    values: Float[np.ndarray, "num num_values"]
    loss: Float[np.ndarray, " num"]
    params: Float[np.ndarray, "num n"]
    samples: Int[np.ndarray, " num"]


@dataclass(frozen=True, eq=False)
class Groups:
    """Clusters of endpoints, in ascending order of `first`.

    Attributes:
        tolerance: largest distance of a member from its leader.
        overflow: endpoints whose cluster is not kept.
        keys, leaders: features of the leaders.
        first: smallest sample number of each cluster, the leader's.
        counts: members.
        loss_low, loss_high: range of the members' losses.
        spread: largest distance of a member from the leader, in features.
        reach: largest distance of a member from the leader, in parameters; large on continua.
        params: the leaders' refined parameters.
    """

    tolerance: float
    overflow: int
    keys: Int[np.ndarray, "groups num_keys"]
    leaders: Float[np.ndarray, "groups num_values"]
    first: Int[np.ndarray, " groups"]
    counts: Int[np.ndarray, " groups"]
    loss_low: Float[np.ndarray, " groups"]
    loss_high: Float[np.ndarray, " groups"]
    spread: Float[np.ndarray, " groups"]
    reach: Float[np.ndarray, " groups"]
    params: Float[np.ndarray, "groups n"]

    def __len__(self) -> int:
        return len(self.counts)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a file."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Groups":
        """What :meth:`arrays` gave."""
        columns = [arrays[name] for name in COLUMNS]
        return cls(float(arrays["tolerance"]), int(arrays["overflow"]), *columns)

    def at(self, rows: np.ndarray) -> "Groups":
        """Some of the clusters."""
        return Groups(self.tolerance, self.overflow, *(getattr(self, name)[rows] for name in COLUMNS))


COLUMNS = tuple(field.name for field in fields(Groups) if field.name not in ("tolerance", "overflow"))


def collect(features: Features, tolerance: float) -> tuple[Groups, Int[np.ndarray, " num"]]:
    """Clusters of some endpoints, and for each endpoint the position of its cluster (-1: not kept)."""
    single = Groups(
        tolerance,
        0,
        features.keys,
        features.values,
        features.samples,
        np.ones(len(features.loss), dtype=np.int64),
        features.loss,
        features.loss,
        np.zeros(len(features.loss)),
        np.zeros(len(features.loss)),
        features.params,
    )
    return _clustered(single)


def merge(one: Groups, other: Groups) -> Groups:
    """The clusters of two tallies of different endpoints; associative and commutative up to the tolerance."""
    return _clustered(_joined(one, other))[0]


def locate(groups: Groups, keys: Int[np.ndarray, "num num_keys"], values: np.ndarray) -> Int[np.ndarray, " num"]:
    """For each row of features the position of the nearest leader within two tolerances, or -1."""
    found = np.full(len(keys), -1)
    for number in range(len(keys)):
        rows = np.flatnonzero((groups.keys == keys[number]).all(axis=1))
        distances = distance(groups.leaders[rows], values[number])
        if len(rows) and distances.min() <= 2 * groups.tolerance:
            found[number] = rows[np.argmin(distances)]
    return found


@dataclass(frozen=True, eq=False)
class Resolution:
    """The groups that clusters make up.

    Attributes:
        groups: one per group, its leader the member with the smallest sample number.
        position: for each cluster its group's position, or -1 where it is ambiguous.
        ambiguous: number of endpoints in ambiguous clusters.
    """

    groups: Groups
    position: Int[np.ndarray, " clusters"]
    ambiguous: int


def resolve(clusters: Groups) -> Resolution:
    """Which clusters are one group, and which lie between groups.

    Again and again the cluster with most endpoints within :data:`CORE` tolerances (the smallest sample number decides
    ties) becomes a centre: those endpoints are its group; clusters within :data:`BAND` of it are ambiguous.
    """
    num = len(clusters)
    position, is_open = np.full(num, -1), np.ones(num, dtype=bool)
    near = [_neighbours(clusters, number, CORE) for number in range(num)]
    weights = np.array([clusters.counts[rows].sum() for rows in near])
    centres: list[np.ndarray] = []
    for centre in np.lexsort((clusters.first, -weights)):
        if not is_open[centre]:
            continue
        members = near[centre][is_open[near[centre]]]
        position[members] = len(centres)
        is_open[_neighbours(clusters, int(centre), BAND)] = False
        centres.append(members)
    parts = [_one(clusters.at(members)) for members in centres]
    order = np.argsort([int(part.first[0]) for part in parts], kind="stable")
    rank = np.argsort(order, kind="stable")
    position = np.where(position >= 0, rank[position] if len(rank) else -1, -1)
    groups = clusters.at(np.zeros(0, dtype=int))
    for number in order:
        groups = _joined(groups, parts[number])
    ambiguous = int(clusters.counts[position < 0].sum())
    return Resolution(replace(groups, overflow=clusters.overflow), position, ambiguous)


def distance(leaders: Float[np.ndarray, "groups num_values"], values: np.ndarray) -> Float[np.ndarray, " groups"]:
    """Largest difference of an entry, relative to the larger of 1 and the leader's."""
    return np.max(np.abs(values - leaders) / np.maximum(1.0, np.abs(leaders)), axis=1, initial=0.0)


def _neighbours(groups: Groups, number: int, multiple: float) -> Int[np.ndarray, " found"]:
    """The clusters with the same keys within so many tolerances of one of them, itself included."""
    limit = multiple * groups.tolerance
    window = limit * max(1.0, abs(float(groups.leaders[number, 0])))
    close = (np.abs(groups.leaders[:, 0] - groups.leaders[number, 0]) <= window).nonzero()[0]
    close = close[(groups.keys[close] == groups.keys[number]).all(axis=1)]
    centre = groups.leaders[number]
    offsets = np.max(np.abs(groups.leaders[close] - centre) / np.maximum(1.0, np.abs(centre)), axis=1)
    return close[offsets <= limit]


def _joined(one: Groups, other: Groups) -> Groups:
    parts = [np.concatenate([getattr(one, name), getattr(other, name)]) for name in COLUMNS]
    return Groups(one.tolerance, one.overflow + other.overflow, *parts)


def _one(members: Groups) -> Groups:
    """All clusters as one, under the leader with the smallest sample number."""
    leader = int(np.argmin(members.first))
    offsets = distance(members.leaders, members.leaders[leader])
    away = np.linalg.norm(members.params - members.params[leader], axis=1)
    return Groups(
        members.tolerance,
        0,
        members.keys[[leader]],
        members.leaders[[leader]],
        members.first[[leader]],
        members.counts.sum(keepdims=True),
        members.loss_low.min(keepdims=True),
        members.loss_high.max(keepdims=True),
        (members.spread + offsets).max(keepdims=True),
        np.maximum(away, members.reach).max(keepdims=True),
        members.params[[leader]],
    )


def _clustered(items: Groups) -> tuple[Groups, Int[np.ndarray, " items"]]:
    """Items put into clusters around leaders, in ascending order of sample numbers."""
    num = len(items)
    assigned, leaders = np.full(num, -1), list[int]()
    by_loss = np.argsort(items.leaders[:, 0], kind="stable")
    sorted_loss = items.leaders[by_loss, 0]
    for number in np.argsort(items.first, kind="stable"):
        if assigned[number] >= 0:
            continue
        value = items.leaders[number]
        window = items.tolerance * max(1.0, abs(float(value[0])))
        low, high = np.searchsorted(sorted_loss, [value[0] - window, value[0] + window], side="left")
        rows = by_loss[low : high + 1]
        rows = rows[(assigned[rows] < 0) & (items.keys[rows] == items.keys[number]).all(axis=1)]
        offsets = np.max(np.abs(items.leaders[rows] - value) / np.maximum(1.0, np.abs(value)), axis=1)
        assigned[rows[offsets <= items.tolerance]] = len(leaders)
        assigned[number] = len(leaders)
        leaders.append(int(number))
    return _tallied(items, assigned, np.array(leaders, dtype=np.int64))


def _tallied(items: Groups, assigned: np.ndarray, leaders: np.ndarray) -> tuple[Groups, Int[np.ndarray, " items"]]:
    num, lead = len(leaders), leaders[assigned]
    offsets = np.max(
        np.abs(items.leaders - items.leaders[lead]) / np.maximum(1.0, np.abs(items.leaders[lead])), axis=1, initial=0.0
    )
    away = norms(items.params - taken(items.params, lead))
    counts, spread, reach = np.zeros(num, dtype=np.int64), np.zeros(num), np.zeros(num)
    low, high = np.full(num, np.inf), np.full(num, -np.inf)
    np.add.at(counts, assigned, items.counts)
    np.maximum.at(spread, assigned, items.spread + offsets)
    np.maximum.at(reach, assigned, np.maximum(away, items.reach))
    np.minimum.at(low, assigned, items.loss_low)
    np.maximum.at(high, assigned, items.loss_high)
    kept = slice(0, MAX_GROUPS)
    overflow = items.overflow + int(counts[MAX_GROUPS:].sum())
    columns = (items.keys[leaders], items.leaders[leaders], items.first[leaders], counts, low, high, spread, reach,
               items.params[leaders])  # fmt: skip
    groups = Groups(items.tolerance, overflow, *(column[kept] for column in columns))
    return groups, np.where(assigned < MAX_GROUPS, assigned, -1)
