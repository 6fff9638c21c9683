"""How good a search is on judged questions."""
