"""Where documents come from: `documents(sources)` gives every one of them, whatever kind of source it lies in."""
