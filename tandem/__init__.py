"""The front door: the `tandem` command, the project file, and the pipeline that strings the packages together."""
