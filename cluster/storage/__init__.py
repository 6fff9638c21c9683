"""The project's storage: files, objects in buckets, run folders and their copies."""
