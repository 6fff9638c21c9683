"""`tandem compare`: the list of its steps, and what each of them needs."""
