"""The test set while it is made: drafts from documents, checked, approved and split."""
