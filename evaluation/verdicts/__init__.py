"""From graded answers to numbers, gates and a recommendation."""
