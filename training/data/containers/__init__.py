"""Files and folders of rows: what they are, and the records in them."""
