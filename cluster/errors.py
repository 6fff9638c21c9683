"""The root class of every error that a user can cause or fix."""


class TandemError(Exception):
    """A user-facing error in three parts; the command prints it as one paragraph and exits with 2.

    Args:
        seen: what was found, as one sentence, with the file and line where there is one.
        accepted: what would have been right.
        remedy: what to do next.
    """

    def __init__(self, seen: str, accepted: str, remedy: str) -> None:
        super().__init__(seen, accepted, remedy)
        self.seen, self.accepted, self.remedy = seen, accepted, remedy

    def __str__(self) -> str:
        return " ".join((self.seen, self.accepted, self.remedy))


def last_line(error: BaseException) -> str:
    """The last line of an error's text, where libraries put the reason; its class where it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
