"""Every error Ferryman raises on purpose, under one root. The message says what happened and what to do."""

from __future__ import annotations


class FerrymanError(Exception):
    """The root of all errors that Ferryman raises on purpose."""


class SettingsError(FerrymanError):
    """A setting has a value that cannot be used; the message names the variable and what is expected."""


class NotFound(FerrymanError):
    """There is no such thing; `what` is its kind (job, task …), `id` what was asked for."""

    def __init__(self, what: str, id: str) -> None:
        super().__init__(f"there is no {what} {id!r}")
        self.what = what
        self.id = id


class Ambiguous(FerrymanError):
    """A shortened id fits more than one thing."""

    def __init__(self, what: str, id: str) -> None:
        super().__init__(f"{id!r} fits more than one {what}: write more of it")
        self.what = what
        self.id = id


class StoreUnavailable(FerrymanError):
    """The database did not answer in time. Nothing was promised; the same call may be made again."""


class SchemaMismatch(FerrymanError):
    """The database was made by a newer Ferryman, or by something else."""


class BrokerUnavailable(FerrymanError):
    """The broker did not answer in time. The rows are safe; the flusher tries again."""


class WrongInstallation(FerrymanError):
    """The broker serves another installation than the database."""

    def __init__(self, broker: str, database: str) -> None:
        super().__init__(
            f"this broker serves installation {broker}, your database is {database}: "
            "set FERRYMAN_BROKER_URL and FERRYMAN_DATABASE_URL to the same installation, "
            "or FERRYMAN_BROKER_PREFIX to a prefix of its own"
        )


class RuntimeUnavailable(FerrymanError):
    """The runtime (Docker) does not answer. It says nothing about the containers, which may run on."""


class Gone(FerrymanError):
    """A container or volume is not there any more. Not a failure of the task: a caller looks again."""


class SandboxGone(FerrymanError):
    """The sandbox whose network namespace a link was to join does not run: the link goes the plain way instead."""


class NotOurs(FerrymanError):
    """This thread no longer speaks for the link: a newer delivery, or another thread, has it."""


class Unstartable(FerrymanError):
    """The link can never start as it is asked for; the message says why, in words for its owner.

    `exit_code` is Docker's own reading where there is one (125 refused, 126 not executable,
    127 not found, 128 user or environment), else None.
    """

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class HostAccessDenied(Unstartable):
    """This worker's doors (FERRYMAN_BIND_SOURCES, FERRYMAN_NETWORKS) refuse the link; another worker's may not."""


class DataDirInUse(FerrymanError):
    """Another process serves this data directory."""
