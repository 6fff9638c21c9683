"""The model's chat template: rendering, and what it leaves out of a conversation."""
