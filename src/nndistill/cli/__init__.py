"""The command line: one file a command, each thin: it parses, calls and prints."""

from .application import app, main

__all__ = ["app", "main"]
