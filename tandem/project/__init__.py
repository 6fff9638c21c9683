"""The project file: read with the line of each setting, checked, and made ready for another machine."""
