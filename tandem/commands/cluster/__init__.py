"""The cluster: its jobs and its manifests."""
