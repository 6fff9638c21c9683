"""Documents, rows and questions: checked, drafted, indexed, searched, forgotten."""
