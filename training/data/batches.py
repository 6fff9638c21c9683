"""Which rows each optimizer step takes: decided by the rows, the settings and the seed alone.

Neither the number of workers nor a restart changes them: a training that is killed, shrunk or grown takes the same
rows, each as often.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
import numpy.typing as npt

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.data.examples import Examples
from training.data.packing import Pack, count_packs, plan_epoch

Step = list[Pack]


class OptimizerSteps:
    """The optimizer steps of a training, each a list of packs that the workers share out among themselves.

    Raises:
        TandemError: no row is drawn, so that there is no step, or a row fits into no forward pass.
    """

    def __init__(self, rows: Examples, config: TrainingConfig) -> None:
        self._rows, self._config = rows, config
        self._weights = [float(weight) for weight in rows.weights]
        self.num_packs = config.workers.max * config.gradient_accumulation
        self._epoch: tuple[int, list[Step]] = (-1, [])
        self._ends = self._count()

    def __len__(self) -> int:
        return self._ends[-1]

    def epoch_of(self, step: int) -> int:
        """The epoch, from 0, that a step belongs to."""
        return next(number for number, end in enumerate(self._ends) if step < end)

    def is_last_of_epoch(self, step: int) -> bool:
        return step + 1 in self._ends

    def __getitem__(self, step: int) -> Step:
        epoch = self.epoch_of(step)
        return self.steps_of_epoch(epoch)[step - (self._ends[epoch - 1] if epoch else 0)]

    def steps_of_epoch(self, epoch: int) -> list[Step]:
        """All steps of one epoch."""
        if self._epoch[0] != epoch:
            self._epoch = (epoch, list(self._plan(epoch)))
        return self._epoch[1]

    def _count(self) -> list[int]:
        """The number of steps that are done when each epoch ends."""
        same = all(weight == int(weight) for weight in self._weights)
        ends, total, steps = [], 0, 0
        for epoch in range(self._config.epochs):
            if epoch == 0 or not same:
                steps = self._count_steps(epoch)
            total += steps
            ends.append(total)
        return ends

    def _count_steps(self, epoch: int) -> int:
        """The steps of an epoch, without planning it."""
        drawn_rows, config = draw_rows(self._weights, self._config.seed, epoch), self._config
        if not drawn_rows:
            raise _no_row_is_drawn(len(self._weights))
        if config.packing:
            return count_packs(self._lengths(drawn_rows), max_pass_tokens(config), self.num_packs) // self.num_packs
        return count_padded_packs(len(drawn_rows), config.micro_batch_size, self.num_packs) // self.num_packs

    def _plan(self, epoch: int) -> Iterator[Step]:
        drawn_rows, config = draw_rows(self._weights, self._config.seed, epoch), self._config
        if config.packing:
            packs = plan_epoch(self._lengths(drawn_rows), max_pass_tokens(config), self.num_packs, config.seed, epoch)
        else:
            packs = plan_padded_epoch(len(drawn_rows), config.micro_batch_size, self.num_packs, config.seed, epoch)
        for start in range(0, len(packs), self.num_packs):
            yield [tuple(drawn_rows[place] for place in pack) for pack in packs[start : start + self.num_packs]]

    def _lengths(self, drawn_rows: Sequence[int]) -> list[int]:
        return [self._rows.row_lengths[row] for row in drawn_rows]


def check_draws(config: TrainingConfig, row_sources: npt.NDArray[np.int32]) -> None:
    """Check that every source with rows to train on gives at least one row to some epoch.

    Args:
        row_sources: the place in `config.data` of the source of each row of the `Examples` that are trained on.

    Raises:
        TandemError: the weights of sources are so small that none of their rows is drawn.
    """
    weights = np.array([source.weight for source in config.data], np.float32)[row_sources].tolist()
    if all(weight >= 1 for weight in weights):
        return
    drawn = {
        int(source) for epoch in range(config.epochs) for source in row_sources[draw_rows(weights, config.seed, epoch)]
    }
    never = sorted(set(row_sources.tolist()) - drawn)
    if not never:
        return
    listed = ", ".join(
        f"{config.data[source].name} (weight {config.data[source].weight:g}, {int((row_sources == source).sum())} rows)"
        for source in never
    )
    raise TandemError(
        f"No epoch draws any row of {listed}.",
        "Of the rows of one `weight` an epoch draws `weight` times their number, rounded: at least one.",
        "Raise the `weight` of such a source under `training.data`, or leave the source out.",
    )


def max_pass_tokens(config: TrainingConfig) -> int:
    """Tokens of one forward pass of one worker, which takes the two sequences of a preference pair together."""
    return config.micro_batch_size * config.sequence_length


def _no_row_is_drawn(num_rows: int) -> TandemError:
    return TandemError(
        f"The training has 0 steps: no epoch draws any of the {num_rows} training rows.",
        "Rows that are seen at least once: of the rows of one `weight` an epoch draws `weight` times their number, "
        "rounded.",
        "Raise `weight` under `training.data`, or name more rows.",
    )


def draw_rows(weights: Sequence[float], seed: int, epoch: int) -> list[int]:
    """The rows of an epoch: each as often as its weight says; for a fraction, a draw among rows of like weight."""
    groups: dict[float, list[int]] = defaultdict(list)
    for row, weight in enumerate(weights):
        groups[weight].append(row)
    rng, drawn_rows = Random(f"draw-{seed}-{epoch}"), []
    for weight, rows in groups.items():
        drawn_rows += rows * int(weight)
        drawn_rows += rng.sample(rows, round((weight - int(weight)) * len(rows)))
    return sorted(drawn_rows)


def plan_padded_epoch(num_rows: int, rows_per_pack: int, multiple: int, seed: int, epoch: int) -> list[Pack]:
    """Batches of a fixed number of rows in a shuffled order; the last ones may have fewer rows, or none."""
    order = list(range(num_rows))
    Random(f"{seed}-{epoch}").shuffle(order)
    num_packs = count_padded_packs(num_rows, rows_per_pack, multiple)
    packs = [tuple(order[start : start + rows_per_pack]) for start in range(0, num_rows, rows_per_pack)]
    return packs + [()] * (num_packs - len(packs))


def count_padded_packs(num_rows: int, rows_per_pack: int, multiple: int) -> int:
    """How many packs `plan_padded_epoch` makes."""
    return multiple * -(-num_rows // (rows_per_pack * multiple))
