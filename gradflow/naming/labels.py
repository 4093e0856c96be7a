"""Names of endpoints: canonical labels, the same in every process, and what a batch was given.

A label is a value, not a number in order of appearance: equal texts mean the same class. Knows no problem.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

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
RANKS = Label("undetermined: a rank depends on weights that cannot be told from zero", "undetermined")
AMBIGUOUS = Label("undetermined: between two classes", "undetermined")
OTHER = Label("undetermined: more classes than are kept", "undetermined")

UNDECIDED = (PASSING, NOT_CRITICAL, NOT_FINITE, KINK, CONTRADICTION, SLOW, RANKS, AMBIGUOUS, OTHER)
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


def encoded(assigned: np.ndarray) -> tuple[tuple[Label, ...], Int[np.ndarray, " num"]]:
    """The labels that occur in an array of labels (None: no label), sorted, and the codes."""
    labels = tuple(sorted({label for label in assigned.tolist() if label is not None}, key=lambda label: label.text))
    positions = {label.text: number for number, label in enumerate(labels)}
    codes = [-1 if label is None else positions[label.text] for label in assigned.tolist()]
    return labels, np.array(codes, dtype=np.int64).reshape(len(assigned))
