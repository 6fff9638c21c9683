"""What can go wrong with a search in ways that a caller tells apart."""

from cluster.errors import TandemError


class RetrievalUnavailable(TandemError):
    """The store does not answer, or not in time. The same search may work later."""


class UnknownCollection(TandemError):
    """No collection of that name has been built."""
