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
