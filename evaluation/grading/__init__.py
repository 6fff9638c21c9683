"""Whether an answer is right, by pure rules."""
