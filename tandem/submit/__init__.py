"""A verb as a job of a cluster: what is sent, and the job until it ends."""
