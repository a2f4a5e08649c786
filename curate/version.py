"""The version of `curate`."""

__version__ = "0.3.0"
