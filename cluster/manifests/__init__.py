"""Kubernetes: the manifests that are rendered, and the rules that they have to keep."""
