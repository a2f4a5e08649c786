"""The errors of `curate`, one tree:

    CurateError
    ├── UsageError          the call is wrong: an option, a layout, a path            exit 2
    │   └── InputError      a file that the user named is wrong: manifest, weights
    ├── Interrupted         the user stopped the run                                  exit 130
    └── CouldNotFinish      the call was right, the run could not be brought to an end  exit 3
        ├── NothingToAudit  no image, or none that can be read
        └── WriteError      the audit or the cache could not be written

Each message is one sentence that says what is wrong, which file or value, and what to do. They are
raised in the library and caught once, in `curate.cli.main`.
"""


class CurateError(Exception):
    """The root of all errors that `curate` raises on purpose."""

    exit_code = 3


class UsageError(CurateError):
    """The call cannot be right, whatever the data: an unknown layout, a path that is not there."""

    exit_code = 2


class InputError(UsageError):
    """A file that the user named holds something that cannot be used: a manifest, a weights file."""


class CouldNotFinish(CurateError):
    """The call was right, but the run could not be brought to an end."""


class Interrupted(CurateError):
    """The user stopped the run. Nothing half-written is left, and what was embedded is in the cache."""

    exit_code = 130


class NothingToAudit(CouldNotFinish):
    """There is no image to judge: an empty folder, or not one that can be read."""


class WriteError(CouldNotFinish):
    """Something could not be written: no permission, a full disk."""
