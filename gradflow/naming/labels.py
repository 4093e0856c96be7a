"""Names of endpoints: canonical labels, the same in every process, and what a batch was given.

A label is a value, not a number in order of appearance: equal texts mean the same class. Knows no problem.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from gradflow.naming.groups import Groups


@dataclass(frozen=True, order=True)
class Label:
    """The name of a class of limits, or the reason why an endpoint has none.

    Attributes:
        text: what tables show; canonical, so that labels may be compared and merged by it.
        kind: one of :data:`gradflow.critical_points.KINDS`; ``"undetermined"`` and ``"not_critical"`` name no limit.
        loss: the value that all members share by theory; NaN when there is none.
    """

    text: str
    kind: str
    loss: float = float("nan")

    @property
    def is_decided(self) -> bool:
        """True when this is the name of a limit."""
        return self.kind not in ("undetermined", "not_critical")


PASSING = Label("undetermined: passing an unstable point", "undetermined")
NOT_CRITICAL = Label("undetermined: nothing critical within reach", "not_critical")
NOT_FINITE = Label("undetermined: not finite", "undetermined")
KINK = Label("undetermined: on a kink", "undetermined")
CONTRADICTION = Label("undetermined: theory and Hessian disagree", "undetermined")
SLOW = Label("undetermined: near a degenerate point that flows leave slowly", "undetermined")
CRAWLING = Label("undetermined: still moving along a flat direction", "undetermined")
RANKS = Label("undetermined: a rank depends on weights that cannot be told from zero", "undetermined")
AMBIGUOUS = Label("undetermined: between two classes", "undetermined")
OTHER = Label("undetermined: more classes than are kept", "undetermined")

UNDECIDED = (PASSING, NOT_CRITICAL, NOT_FINITE, KINK, CONTRADICTION, SLOW, CRAWLING, RANKS, AMBIGUOUS, OTHER)
"""Every label that names no limit."""


@dataclass(frozen=True, eq=False)
class Names:
    """The names of a batch of endpoints.

    Attributes:
        labels: the labels that occur, sorted.
        codes: for each endpoint the position of its label, or -1 where its class is one of `groups`.
        groups: classes found by discovery; they get their labels in :func:`gradflow.naming.settle`. None for namers
            that know all classes beforehand.
        members: for each endpoint its position in `groups`, or -1.
        losses: the loss at each endpoint, refined where it was examined.
        params: the endpoints as rows, refined where they were examined.
    """

    labels: tuple[Label, ...]
    codes: Int[np.ndarray, " num"]
    groups: Groups | None
    members: Int[np.ndarray, " num"]
    losses: Float[np.ndarray, " num"]
    params: Float[np.ndarray, "num n"]

    def __len__(self) -> int:
        return len(self.codes)

    def label_of(self, number: int) -> Label | None:
        """The label of one endpoint, None while its group has none."""
        return self.labels[self.codes[number]] if self.codes[number] >= 0 else None

    def counts(self) -> dict[Label, int]:
        """How many endpoints have each label; those in groups are left out."""
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.labels))
        return {label: int(count) for label, count in zip(self.labels, counts, strict=True)}


@dataclass(frozen=True, eq=False)
class Draft:
    """Labels while they are being given to rows: codes into a table that grows, -1 where there is none yet."""

    codes: Int[np.ndarray, " num"]
    table: list[Label] = field(default_factory=list)

    @classmethod
    def blank(cls, num: int) -> "Draft":
        """No labels yet."""
        return cls(np.full(num, -1, dtype=np.int64))

    @property
    def is_open(self) -> Bool[np.ndarray, " num"]:
        """Where there is no label yet."""
        return self.codes < 0

    def has(self, label: Label) -> Bool[np.ndarray, " num"]:
        """Where this is the label."""
        return self.codes == self._place(label)

    def give(self, rows: np.ndarray, label: Label) -> None:
        """Gives some rows (numbers or a mask) a label, whatever they had."""
        self.codes[rows] = self._place(label)

    def put(self, rows: Int[np.ndarray, " rows"], other: "Draft") -> None:
        """Gives some rows what `other` says of them."""
        places = np.array([*map(self._place, other.table), -1], dtype=np.int64)
        self.codes[rows] = places[other.codes]

    def finished(self) -> tuple[tuple[Label, ...], Int[np.ndarray, " num"]]:
        """The labels that occur, sorted by text, and the codes; labels of equal text are one."""
        occurs = np.bincount(self.codes[self.codes >= 0], minlength=len(self.table)) > 0
        chosen = {label.text: label for label, is_used in zip(self.table, occurs, strict=True) if is_used}
        labels = tuple(chosen[text] for text in sorted(chosen))
        position = {label.text: number for number, label in enumerate(labels)}
        places = np.array([*(position.get(label.text, -1) for label in self.table), -1], dtype=np.int64)
        return labels, places[self.codes]

    def _place(self, label: Label) -> int:
        if label not in self.table:
            self.table.append(label)
        return self.table.index(label)
