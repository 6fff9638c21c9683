"""Where work runs and what lies on disk: Ray, jobs, storage, the adapter registry, checks before work begins."""
