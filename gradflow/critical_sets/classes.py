"""A class of critical points: what all its members share. Every family lists its classes in this one type."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class CriticalClass:
    """A family of critical points with the same pattern, and what theory says of each of its members.

    Args:
        family: name of the family's module, e.g. ``"shallow_linear"``.
        pattern: what identifies the class within its family (captured counts, ranks, a cone, ...), by name; hashable
            values only, so that classes compare and sort.
        loss: the loss of every member, irreducible part and regulariser included.
        rank: rank of the product of the layers (of its active part for ReLU networks), None where it varies.
        category: the paper's word, e.g. ``"global"``, ``"non-optimal"``, ``"optimal"``; the family's docstring
            lists its words.
        strict: True when the Hessian has a negative eigenvalue at every member, False when it has none at any
            (so always at minima), None when it is not decided by the class.
        index: Morse index, the number of negative eigenvalues, or None where it varies or is not known.
        nullity: number of zero eigenvalues, or None where it varies or is not known.
        source: paper and statement.
    """

    family: str
    pattern: Mapping[str, Any] = field(hash=False)
    loss: float
    rank: int | None
    category: str
    strict: bool | None
    index: int | None
    nullity: int | None
    source: str

    @property
    def is_global(self) -> bool:
        """True when the members are global minimisers."""
        return self.category == "global"
