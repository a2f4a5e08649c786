"""The errors of `curate`, one tree:

    CurateError
    ├── UsageError          the call is wrong: an option, a layout, a path            exit 2
    │   └── InputError      a file that the user named is wrong: manifest, weights
    ├── Interrupted         the user stopped the run                                  exit 130
    └── CouldNotFinish      the call was right, but the run could not finish          exit 3
        ├── NothingToAudit  no image, or no readable one
        └── WriteError      the audit or the cache could not be written

Each message is one sentence: what is wrong, in which file or value, and what to do. The library raises them; only
`curate.cli.main` catches them.
"""


class CurateError(Exception):
    """The root of all errors that `curate` raises on purpose.

    Examples:
        >>> try:
        ...     curate.read_audit("parts")
        ... except curate.CurateError as error:
        ...     print(error.exit_code, str(error)[:24])
        2 parts: not an audit (no
    """

    exit_code = 3


class UsageError(CurateError):
    """The call is wrong, whatever the data: an unknown layout, a path that does not exist."""

    exit_code = 2


class InputError(UsageError):
    """A file that the user named cannot be used: a manifest, a weights file."""


class CouldNotFinish(CurateError):
    """The call was right, but the run could not finish."""


class Interrupted(CurateError):
    """The user stopped the run. No partial output is left, and the embedded images are in the cache."""

    exit_code = 130


class NothingToAudit(CouldNotFinish):
    """There is no image to judge: an empty folder, or no readable image."""


class WriteError(CouldNotFinish):
    """Something could not be written: no permission, a full disk."""
