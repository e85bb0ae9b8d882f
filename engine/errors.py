"""Errors that Ferryman raises on purpose, under one root. Each message says what happened and what to do."""

from __future__ import annotations

from engine.wording.url_secrets import without_password


class FerrymanError(Exception):
    """Root of all errors that Ferryman raises on purpose. No message shows a password of a URL."""

    def __str__(self) -> str:
        # Messages quote settings and the words of libraries, and land in logs, rows, answers and terminals.
        return without_password(super().__str__())


class SettingsError(FerrymanError):
    """Error for an unusable value of a setting; the message names the variable and what is expected."""


class NotFound(FerrymanError):
    """Error for an unknown id; `what` is the kind (job, task, node)."""

    def __init__(self, what: str, id: str) -> None:
        super().__init__(f"there is no {what} {id!r}")
        self.what = what
        self.id = id


class ShortId(NotFound):
    """Error for a shortened id of fewer characters than may be looked for."""

    def __init__(self, what: str, id: str, least: int) -> None:
        super().__init__(what, id)
        self.args = (
            f"{id!r} is too short for an id of a {what}: give at least its first {least} characters",
        )


class Ambiguous(FerrymanError):
    """Error for a shortened id that several jobs, tasks or nodes match."""

    def __init__(self, what: str, id: str) -> None:
        super().__init__(f"{id!r} matches more than one {what}: write more of the id")
        self.what = what
        self.id = id


class Unavailable(FerrymanError):
    """Root of the errors for a server that does not answer now."""

    #: Waiting may help. False: somebody has to change a setting or repair the server first.
    may_come_back = True


class StoreUnavailable(Unavailable):
    """Error for a database that did not answer in time. Nothing is promised, and the call may be repeated."""


class StoreRefused(StoreUnavailable):
    """Error for a database that refuses this process: its password, its name, its permissions."""

    may_come_back = False


class StoreDamaged(StoreUnavailable):
    """Error for a database whose content is damaged."""

    may_come_back = False


class SchemaMismatch(FerrymanError):
    """Error for a database that a newer Ferryman or another program created."""


class BrokerUnavailable(Unavailable):
    """Error for a broker that did not answer in time. The rows are safe, and the flusher tries again."""


class BrokerRefused(BrokerUnavailable):
    """Error for a broker that refuses the password, the user or the number of the database."""

    may_come_back = False


class WrongInstallation(FerrymanError):
    """Error for a broker that belongs to another installation than the database."""

    def __init__(self, broker: str, database: str) -> None:
        super().__init__(
            f"the broker belongs to installation {broker}, the database to installation {database}: "
            "set FERRYMAN_BROKER_URL and FERRYMAN_DATABASE_URL to the same installation, "
            "or FERRYMAN_BROKER_PREFIX to a prefix of its own"
        )


class RuntimeUnavailable(Unavailable):
    """Error for a runtime (Docker) that does not answer. Its containers may still run."""


class ErrorAnswer(RuntimeUnavailable):
    """Error for a runtime that answered a request with an error of its own: it is not silent, and may answer later."""


class Gone(FerrymanError):
    """Error for a container or volume that no longer exists. The task has not failed: the caller looks again."""


class SandboxGone(FerrymanError):
    """Error for a sandbox that does not run; the link runs without a sandbox instead."""


class NotOurs(FerrymanError):
    """Error for a thread that no longer acts for its link: a newer delivery or another thread does."""


class Unstartable(FerrymanError):
    """Error for a link that can never start as its task asks; the message gives the reason to the task's owner.

    `exit_code` is Docker's reading where there is one (125 refused, 126 not executable, 127 not found, 128 user or
    environment), else None.
    """

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class MachineFault(FerrymanError):
    """Error for a link that this node's machine cannot begin, whatever the task asks; in the daemon's words."""


class DataDirectoryFault(MachineFault):
    """Error for a link that cannot begin because this worker cannot use its data directory."""


class HostAccessDenied(Unstartable):
    """Error for a link refused by this worker's host access (FERRYMAN_BIND_SOURCES, FERRYMAN_NETWORKS).

    Another worker may allow it.
    """


class DataDirInUse(FerrymanError):
    """Error for a data directory that another process serves."""
