"""How much hardware a load takes; the rest of serving does not import it."""
