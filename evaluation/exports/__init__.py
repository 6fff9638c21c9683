"""Test questions in the formats of other tools."""
