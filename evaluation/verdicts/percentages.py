"""Shares and differences as a reader sees them: percent and percentage points. Files keep the fractions."""

from evaluation.results import Difference, Share


def percent(share: float) -> str:
    """A share of 0 to 1, such as `71 %`. `0 %` and `100 %` are said of exactly none and all."""
    return f"{_number(share)} %"


def bounds(low: float, high: float) -> str:
    """The ends of an interval of a share, such as `64 to 76`: the percent sign stands beside the share."""
    return f"{_number(low)} to {_number(high)}"


def with_interval(share: Share) -> str:
    """A share with its interval, such as `71 % (64 to 76)`; `none` where nothing was counted."""
    if not share.n or share.share is None:
        return "none"
    if share.low is None or share.high is None:
        return percent(share.share)
    return f"{percent(share.share)} ({bounds(share.low, share.high)})"


def points(difference: float) -> str:
    """A difference of two shares with its sign, such as `+22 points`."""
    number = _points(difference)
    sign = "+" if difference > 0 and number != "0" else ""
    return f"{sign}{number} point{'' if number.lstrip('−') == '1' else 's'}"


def points_bounds(low: float, high: float) -> str:
    """The ends of an interval of a difference, such as `−3 to 12`."""
    return f"{_points(low)} to {_points(high)}"


def points_with_interval(difference: Difference) -> str:
    """A difference with its interval, such as `+22 points (10 to 33)`; in words where there is none."""
    if difference.difference is None:
        return "no question was answered by both"
    if difference.low is None or difference.high is None:
        return points(difference.difference)
    return f"{points(difference.difference)} ({points_bounds(difference.low, difference.high)})"


def _number(share: float) -> str:
    value = share * 100
    if 0 < value <= 0.5 or 99.5 <= value < 100:
        return f"{min(max(value, 0.1), 99.9):.1f}"
    return f"{value:.0f}"


def _points(difference: float) -> str:
    value = round(difference * 100, 6)
    digits = 1 if 0 < abs(value) <= 0.5 else 0
    size = f"{abs(value):.{digits}f}"
    return "0" if float(size) == 0 else f"{'−' if value < 0 else ''}{size}"
