"""Fixtures of the serving tests."""

from tests.serving.served_app import endpoint

__all__ = ["endpoint"]
