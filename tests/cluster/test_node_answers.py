"""Errors of tasks on other nodes, in words."""

import pickle

import pytest
from ray.exceptions import GetTimeoutError, NodeDiedError, RayError, RayTaskError

from cluster.errors import TandemError
from cluster.node_answers import get_answers, worded

SAID = TandemError("The GPUs cannot be read.", "A driver.", "Install it.")


def arrived(cause: Exception) -> RayError:
    """As `ray.get` raises what a task raised."""
    sent = RayTaskError("read_node", "Traceback (most recent call last): ...", cause, "ray::read_node", 7, "10.0.0.2")
    error = pickle.loads(pickle.dumps(sent)).as_instanceof_cause()
    assert isinstance(error, RayTaskError) and "ray::read_node" in str(error)
    return error


def test_a_users_error_of_another_node_arrives_as_it_was_raised() -> None:
    error = worded(arrived(SAID), 120)
    assert type(error) is TandemError and str(error) == str(SAID)


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    error = arrived(ValueError("7"))
    assert worded(error, 120) is error


@pytest.mark.parametrize("error", [GetTimeoutError("Get timed out"), NodeDiedError("its node died")])
def test_a_node_that_does_not_answer_is_said(error: RayError) -> None:
    said = worded(error, 120)
    assert isinstance(said, TandemError) and said.seen.startswith("A node did not answer ")
    assert ("120 seconds" if isinstance(error, GetTimeoutError) else "its node died") in said.seen


def test_nobody_is_asked_where_there_are_no_nodes() -> None:
    assert get_answers([], 120) == []
