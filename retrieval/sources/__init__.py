"""Where documents come from: folders, object stores, databases and sites."""
