"""By how much the best arm's own share flatters it, because it was chosen for that share.

Of arms that are equal the best is the luckiest. How lucky is estimated by drawing: arms as far behind the best as was
measured, less what chance alone puts between them, with the errors that their shares have (by document, and correlated,
since all answer the same questions); the mean error of whichever arm is then the best. Where one arm is far ahead this
is 0. The draws have a fixed seed: the same answers give the same figure.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.arms import Arm
from evaluation.questions.question import GENERAL
from evaluation.results import Row
from evaluation.verdicts.sampling.clusters import clusters_of

NUM_DRAWS = 4000


def selection_optimism(rows: Sequence[Row], arms: Sequence[Arm]) -> float | None:
    """How much lower the best arm's share is likely to be on other questions; None with fewer than two arms.

    Args:
        rows: those that count; only questions that every arm answered are used, general ones are not.
    """
    counted = [row for row in rows if row.question.slice != GENERAL]
    grades = [[row.replies[arm.name].counted for arm in arms] for row in counted]
    answered = [number for number, each in enumerate(grades) if all(each)]
    if len(arms) < 2 or not answered:
        return None
    right = np.array([[grade is not None and grade.correct for grade in grades[number]] for number in answered])
    return optimism(right, clusters_of(counted)[answered])


def optimism(right: NDArray[np.bool_], clusters: NDArray[np.int64]) -> float:
    """The same for answers that are right or not, `[questions, arms]`, and the cluster of each question."""
    shares = right.mean(axis=0)
    apart = right - shares
    numbers = np.unique(clusters, return_inverse=True)[1]
    num_clusters = int(numbers.max()) + 1
    sums = np.stack([np.bincount(numbers, weights=column) for column in apart.T], axis=1)
    covariance = sums.T @ sums / len(right) ** 2 * num_clusters / max(num_clusters - 1, 1)
    best = int(np.argmax(shares))
    variances = np.diag(covariance) + covariance[best, best] - 2 * covariance[best]
    behind = np.sqrt(np.maximum((shares[best] - shares) ** 2 - np.maximum(variances, 0.0), 0.0))
    values, vectors = np.linalg.eigh(covariance)
    drawn = np.random.default_rng(0).standard_normal((NUM_DRAWS, right.shape[1]))
    errors = drawn @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    chosen = np.argmax(errors - behind, axis=1)
    return max(float(errors[np.arange(NUM_DRAWS), chosen].mean()), 0.0)
