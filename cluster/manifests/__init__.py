"""Rendered Kubernetes manifests, and the rules that no schema shows."""
