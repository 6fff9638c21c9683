"""A PDF becomes text: the words of its pages in reading order, its tables as rows, its fields and comments."""
