"""The verbs of `tandem`, one module each; folders are the panels of its help."""
