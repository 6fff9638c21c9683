"""Where things run and what lies on disk: Ray session, storage, run folders and the adapter registry."""
