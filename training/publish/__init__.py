"""The trained weights become a version in the registry, with a model card."""
