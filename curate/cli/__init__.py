"""The command line of `curate`."""

from curate.cli.main import app, main

__all__ = ["app", "main"]
