"""Values and questions in other wordings that say the same."""
