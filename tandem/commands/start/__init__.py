"""First steps: a project file, a first answer, the demonstration, and a look at the machine."""
