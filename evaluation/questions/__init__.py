"""The test set as it is read: questions, their files, and leaks into training rows."""
