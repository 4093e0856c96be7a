"""The version, said once: the build, the command line and every results file read it from here."""

__version__ = "0.1.0"
