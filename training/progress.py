"""One line that says how far a training is: a bar, the loss, tokens per second and the time left."""

from typing import Any

_WIDTH = 20


class Progress:
    """Turns the recorded line of each step into words."""

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps
        self._first: tuple[int, float] | None = None
        self._tokens = 0

    def line(self, values: dict[str, Any]) -> str:
        """What to show after a step; speed and time left are means since the first step that was shown."""
        step, now = int(values["step"]), float(values["time"])
        if self._first is None or step <= self._first[0]:
            self._first, self._tokens = (step, now), 0
        else:
            self._tokens += int(values["tokens"])
        filled = _WIDTH * step // self._num_steps
        bar = "█" * filled + "░" * (_WIDTH - filled)
        return f"{bar} step {step}/{self._num_steps}, loss {values['loss']:.4f}{self._speed(step, now)}"

    def _speed(self, step: int, now: float) -> str:
        """Nothing after the first step, whose time is not that of a step."""
        assert self._first is not None
        steps, seconds = step - self._first[0], now - self._first[1]
        if not steps or seconds <= 0:
            return ""
        left = seconds / steps * (self._num_steps - step)
        return f", {self._tokens / seconds:,.0f} tokens/s, {duration(left)} left"


def duration(seconds: float) -> str:
    """As 42 s, 3:07 or 2:05:00."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}" if minutes else f"{whole} s"
