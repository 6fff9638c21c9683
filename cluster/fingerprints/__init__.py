"""What identifies a text, a model or a machine."""
