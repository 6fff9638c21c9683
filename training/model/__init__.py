"""The model that is trained: its adapter, its attention over packed rows, and its loss."""
