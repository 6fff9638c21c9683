"""Work that is sent to a Ray cluster: the archive, the wheel, the jobs and their logs."""
