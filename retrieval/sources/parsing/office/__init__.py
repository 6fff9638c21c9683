"""Documents of office programs: text, sheets and slides."""
