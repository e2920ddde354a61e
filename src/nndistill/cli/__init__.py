"""The command line: one file per command, each of which parses, calls the library and prints."""

from .application import app, main

__all__ = ["app", "main"]
