"""DockerRuntime: the runtime port on one Docker daemon. Each verb has a module of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.jobspec.task import HostAccess
from engine.runtime.base import Control, LogSink, Order, Outcome, Prepared, Resource
from engine.runtime.docker import cleanup, follow, prepare, results, shared_files
from engine.runtime.docker.client import Client, translated
from engine.runtime.docker.host import Host
from engine.runtime.docker.host_places import HostPlaces
from engine.runtime.docker.sandbox import DockerSandboxes
from engine.runtime.docker.shared_files import SharedFiles
from engine.runtime.docker.troubles import Troubles
from engine.settings import RuntimeSettings


class DockerRuntime:
    """`engine.runtime.base.Runtime` on one Docker daemon. Thread-safe; connects on the first call."""

    def __init__(
        self,
        settings: RuntimeSettings,
        data_dir: Path,
        installation: str,
        host_access: HostAccess,
        *,
        shares_files: bool | None = None,
    ) -> None:
        """Take `shares_files` False to copy files, None to let a probe decide after each start of the daemon."""
        self.client = Client(settings.docker_host, settings.docker_timeout_seconds)
        troubles = Troubles()
        shared_files = SharedFiles(self.client, data_dir, installation, troubles, known=shares_files)
        are_devices_made = "MKNOD" in settings.keep_capabilities
        places = HostPlaces(self.client, host_access, are_devices_made=are_devices_made)
        self._host = Host(
            self.client, settings, data_dir, installation, host_access, shared_files, places, troubles
        )
        #: The other half of the port.
        self.sandboxes = DockerSandboxes(self._host)

    def describe(self) -> str:
        """See engine.runtime.base."""
        with translated("reading its version"):
            info = self.client.api.info()
        version, driver, cgroups = info["ServerVersion"], info["Driver"], info.get("CgroupVersion", "1")
        return f"docker {version}, {driver}, cgroup v{cgroups} at {self.client.address}"

    def why_refused(self, order: Order) -> str:
        """See engine.runtime.base."""
        return prepare.why_refused(self._host, order)

    def prepare(self, order: Order, sink: LogSink, control: Control) -> Prepared:
        """See engine.runtime.base."""
        return prepare.prepare(self._host, order, sink, control)

    def go(self, prepared: Prepared, sink: LogSink, control: Control) -> Outcome:
        """See engine.runtime.base."""
        return follow.go(self._host, prepared, sink, control)

    def discard(self, prepared: Prepared) -> None:
        """See engine.runtime.base."""
        prepare.discard(self._host, prepared)

    def output_directory(self, prepared: Prepared) -> Path | None:
        """See engine.runtime.base."""
        return results.output_directory(self._host, prepared)

    def empty_output(self, prepared: Prepared) -> None:
        """See engine.runtime.base."""
        results.empty_output(self._host, prepared)

    def list(self, *, with_directories: bool = False) -> Sequence[Resource]:
        """See engine.runtime.base."""
        return cleanup.list_resources(self._host, with_directories=with_directories)

    def remove(self, resources: Iterable[Resource]) -> int:
        """See engine.runtime.base."""
        return cleanup.remove(self._host, resources)

    def why_files_unusable(self) -> str:
        """See engine.runtime.base."""
        return shared_files.why_unusable(self._host.data_dir, self._host.installation)

    def remove_orphans(self) -> None:
        """See engine.runtime.base."""
        cleanup.remove_orphans(self._host)
