"""The Docker runtime: prepare, go, discard, list, remove. Ties the rooms' files together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from docker.errors import APIError

from engine import failpoints
from engine.errors import Gone, HostAccessDenied, NotOurs, RuntimeUnavailable, SandboxGone, Unstartable
from engine.jobspec.task import HostAccess
from engine.runtime.base import (
    Cause,
    Control,
    Detached,
    LogSink,
    Order,
    Outcome,
    Prepared,
    PreparedState,
    Resource,
)
from engine.runtime.docker import (
    container,
    exit_status,
    files,
    images,
    labels,
    options,
    results,
    sandbox,
    shared_files,
    volumes,
)
from engine.runtime.docker.activity import Activity
from engine.runtime.docker.client import Client, translated, words
from engine.runtime.docker.labels import ListedContainer
from engine.runtime.docker.logs import Follower
from engine.settings import RuntimeSettings

log = logging.getLogger(__name__)

#: A followed log that goes on without a byte for this long after the container's end is read plainly instead.
DRAIN_SECONDS = 5.0
#: How long a name may stay taken by what is being removed.
_TAKEN_SECONDS = 10.0
#: Things in a row on which Docker may fall silent before a removal gives up.
_MOST_FAILURES = 3


class DockerRuntime:
    """`engine.runtime.base.Runtime` by one Docker daemon. Thread-safe; connects when first asked."""

    def __init__(
        self,
        settings: RuntimeSettings,
        data_dir: Path,
        installation: str,
        host_access: HostAccess,
        *,
        shares_files: bool | None = None,
    ) -> None:
        """`shares_files` None: tried by a nonce, once for each start of the daemon; False: files go by archive."""
        self._settings = settings
        self._data_dir = data_dir
        self._installation = installation
        self._doors = host_access
        self._client = Client(settings.docker_host, settings.docker_timeout_seconds)
        self._sharing = shared_files.SharedFiles(self._client, data_dir, installation, told=shares_files)
        self._activity = Activity()
        #: The other half of the port.
        self.sandboxes = sandbox.DockerSandboxes(self._client, installation, self._activity)

    def describe(self) -> str:
        """The daemon in a few words, for people. Raises RuntimeUnavailable."""
        with translated("asking what it is"):
            about = self._client.api.info()
        parts = [
            str(about["ServerVersion"]),
            str(about["Driver"]),
            f"cgroup v{about.get('CgroupVersion', '1')}",
        ]
        return f"docker {', '.join(parts)} at {self._client.address}"

    def shares_files(self) -> bool:
        """Whether what this process writes can be bound into containers. Raises RuntimeUnavailable."""
        return self._sharing.found()

    def why_refused(self, order: Order) -> str:
        """See engine.runtime.base."""
        if not order.mounts and not order.networks:
            # Nothing of the host: that files are shared need not be known, which may take a probe.
            return ""
        try:
            self._mounts(order)
        except HostAccessDenied as exc:
            return str(exc)
        except Unstartable:
            # Wrong by itself: `prepare` says so to its owner.
            return ""
        return ""

    # The doors are asked before each create: an order may come from a host with other settings.
    def prepare(self, order: Order, sink: LogSink, control: Control) -> Prepared:
        """See engine.runtime.base. Nothing older than a first delivery can exist: then create is tried at once."""
        must_look = (order.run.attempt, order.delivery) != (1, 1)
        deadline = time.monotonic() + _TAKEN_SECONDS
        if order.spec.pull == "always" and not (must_look and self._look(order)):
            self._mounts(order)
            with control.timings.span("pulling"):
                images.ensure(
                    self._client, order.spec.image, sink, control, self._settings.pull_timeout_seconds
                )
        while True:
            if control.detached:
                raise Detached
            seen = self._look(order) if must_look else None
            must_look = True
            prepared = self._meet(order, seen) if seen is not None else None
            if prepared is not None:
                return prepared
            # A kill is a reason to create nothing, but none to leave alone what is there.
            if seen is None and control.changed.is_set():
                raise Detached
            try:
                with self._activity.busy():
                    return self._create(order, self._mounts(order), sink, control)
            except container.NameTaken:
                if time.monotonic() > deadline:
                    raise Unstartable(
                        f"the name {order.name} is taken by a container that is not ours"
                    ) from None

    def _mounts(self, order: Order) -> list[dict[str, object]]:
        return options.check_host_access_of(order, self._doors, are_files_shared=self.shares_files())

    def _look(self, order: Order) -> ListedContainer | None:
        return container.look(self._client, order, lambda name: files.remove(self._data_dir, name))

    def _meet(self, order: Order, seen: ListedContainer) -> Prepared | None:
        """What the container of my name is to me; None when it is not there, or not any more."""
        state = container.inspect(self._client, seen.id)
        if state is None:
            return None
        if state.delivery > order.delivery:
            raise NotOurs(f"{order.name} was created by delivery {state.delivery}, this is {order.delivery}")
        if state.status == "created":
            if state.delivery == order.delivery:
                raise NotOurs(f"{order.name} was created under this token by another thread")
            if state.out is not None:
                files.make_unstartable(state.out)
            state = container.inspect(self._client, seen.id)
        if state is None or (state.status == "created" and self._is_removed(seen.id)):
            return None
        if state.status in ("created", "removing"):
            time.sleep(exit_status.TICK_SECONDS)
            return None
        found = PreparedState.EXITED if state.has_ended else PreparedState.RUNNING
        return Prepared(order, seen.id, found)

    def _is_removed(self, container_id: str) -> bool:
        return container.remove(self._client, container_id, force=False)

    def _create(
        self, order: Order, mounts: list[dict[str, object]], sink: LogSink, control: Control
    ) -> Prepared:
        shared = None
        if self.shares_files():
            path = files.directory(self._data_dir, order.name, order.delivery)
            shared = options.Shared(path / "out", files.make(path, order))
        if not order.needs_volumes:
            volumes.make(self._client, order)
            failpoints.hit("prepare.volume")
        body = options.create_body(order, self._settings, mounts, shared)
        try:
            container_id = self._created_or_pulled(order, body, sink, control)
        except (Unstartable, RuntimeUnavailable) as exc:
            self._forget(order)
            self._unless_sandbox_gone(order, exc)
            raise
        except Detached:
            self._forget(order)
            raise
        prepared = Prepared(order, container_id, PreparedState.CREATED)
        try:
            self._complete(order, container_id, is_shared=shared is not None)
        except Gone:
            self.discard(prepared)
            volumes.remove_unlabelled(self._client, order)
            raise
        except Unstartable:
            self.discard(prepared)
            raise
        return prepared

    def _created_or_pulled(
        self, order: Order, body: dict[str, object], sink: LogSink, control: Control
    ) -> str:
        try:
            return container.create(self._client, order, body)
        except container.ImageMissing:
            with control.timings.span("pulling"):
                images.ensure(
                    self._client, order.spec.image, sink, control, self._settings.pull_timeout_seconds
                )
            if not order.needs_volumes:
                # A pull may have lasted long enough for somebody's `docker volume prune`.
                volumes.make(self._client, order)
        if control.changed.is_set():
            raise Detached
        try:
            return container.create(self._client, order, body)
        except container.ImageMissing:
            raise Unstartable(f"the image {order.spec.image} was removed while it was pulled", 125) from None

    def _forget(self, order: Order) -> None:
        """Remove the work directory that this delivery made, once no container binds it."""
        files.remove_directory(files.directory(self._data_dir, order.name, order.delivery))

    def _complete(self, order: Order, container_id: str, *, is_shared: bool) -> None:
        container.join_networks(self._client, order, container_id)
        if order.needs_volumes:
            volumes.check(self._client, order)
        if is_shared:
            return
        try:
            with translated("copying files into a container"):
                self._client.api.put_archive(container_id, "/", files.archive(order))
        except APIError as exc:
            raise Unstartable(f"Docker does not take the task's files: {words(exc)}", 125) from exc

    def go(self, prepared: Prepared, sink: LogSink, control: Control) -> Outcome:
        """See engine.runtime.base. A start that Docker refuses is an outcome (not started), not an error."""
        try:
            return self._go(prepared, sink, control)
        except Gone:
            if prepared.state is PreparedState.CREATED:
                self._forget(prepared.order)
            raise

    def _go(self, prepared: Prepared, sink: LogSink, control: Control) -> Outcome:
        order, container_id = prepared.order, prepared.container_id
        if prepared.state is PreparedState.CREATED:
            with self._activity.busy(), control.timings.span("starting"):
                refused = self._start(order, container_id, control)
            if refused is not None:
                return refused
        wants_tail = results.TAIL_BYTES if order.kind == "main" else 0
        follower = Follower(self._client, container_id, sink, min(wants_tail, self._settings.result_bytes))
        follower.start()
        failpoints.hit("go.followed")
        try:
            if prepared.state is PreparedState.EXITED:
                end, control = exit_status.collect(self._client, container_id, control), Control()
            else:
                with control.timings.span("running"):
                    end = exit_status.await_end(
                        self._client, container_id, control, self._settings.kill_grace_seconds
                    )
            self._activity.touch()
            follower.finish(DRAIN_SECONDS, _only_detach(control, end))
            verdict = exit_status.judge(self._client, order, container_id, end, follower.last_error)
        finally:
            follower.stop()
        if order.kind != "main":
            return Outcome(verdict.code, verdict.cause, verdict.message)
        result = self._result(prepared, verdict.code, follower, sink)
        return Outcome(verdict.code, verdict.cause, verdict.message, result)

    def _start(self, order: Order, container_id: str, control: Control) -> Outcome | None:
        if control.detached:
            raise Detached
        if control.kill_for is not None:
            return Outcome(137, control.kill_for, "killed before it started")
        state = container.start(self._client, container_id)
        if state is None:
            failpoints.hit("go.started")
            return None
        self._unless_sandbox_gone(order, state.error)
        return Outcome(
            state.exit_code, Cause.NOT_STARTED, container.start_words(state.exit_code, state.error)
        )

    def _unless_sandbox_gone(self, order: Order, said: object) -> None:
        """Of a joined link that Docker refuses: is it for its sandbox? By what is there, not by Docker's words."""
        if order.sandbox is not None and not sandbox.is_running(self._client, order.sandbox):
            raise SandboxGone(f"the sandbox {order.sandbox} does not run: {said}")

    def _result(self, prepared: Prepared, code: int, follower: Follower, sink: LogSink) -> str:
        order, is_mine = prepared.order, prepared.state is PreparedState.CREATED
        mine = files.directory(self._data_dir, order.name, order.delivery) / "out" if is_mine else None
        source = results.Source(self._client, prepared.container_id, self.shares_files(), mine)
        found = results.of_file(source, self._settings.result_bytes, sink)
        if found is not None:
            return found
        if follower.is_resumed and code == 0:
            return results.of_log(source, self._settings.result_bytes)
        return results.text(follower.tail())

    def discard(self, prepared: Prepared) -> None:
        """See engine.runtime.base."""
        if prepared.state is not PreparedState.CREATED:
            return
        if container.remove(self._client, prepared.container_id, force=False):
            self._forget(prepared.order)

    def list(self, *, with_directories: bool = False) -> Sequence[Resource]:
        """See engine.runtime.base."""
        directories = files.directories(self._data_dir, self._installation) if with_directories else ()
        return [*labels.everything(self._client, self._installation), *directories]

    def remove_orphans(self) -> None:
        """See engine.runtime.base: what a probe of shared files left whose process died."""
        shared_files.remove_dead(self._client, self._data_dir, self._installation)

    def remove(self, things: Iterable[Resource]) -> int:
        """See engine.runtime.base. The rest comes after the links' containers; what sticks stops no other.

        Raises RuntimeUnavailable when Docker did not answer for several.
        """
        gone = failures = 0
        for thing in sorted(things, key=lambda one: one.kind != "container"):
            try:
                with self._activity.busy():
                    gone += self._remove_one(thing)
            except RuntimeUnavailable as exc:
                failures += 1
                if failures == _MOST_FAILURES:
                    raise
                log.warning("%s %s stays for now: %s", thing.kind, thing.name, exc)
        return gone

    def _remove_one(self, thing: Resource) -> bool:
        if thing.kind == "sandbox":
            return self.sandboxes.remove(thing.id)
        if thing.kind == "volume":
            return self._remove_volume(thing.id)
        if thing.kind == "directory":
            return files.remove_directory(self._data_dir / "work" / thing.id)
        return self._remove_container(thing)

    def _remove_container(self, thing: Resource) -> bool:
        if not container.remove(self._client, thing.id, force=True):
            return False
        failpoints.hit("remove.container")
        if not files.remove(self._data_dir, thing.name):
            log.warning(
                "files of %s stay: its user made them so that this one may not remove them", thing.name
            )
        return True

    def _remove_volume(self, name: str) -> bool:
        try:
            with translated("removing a volume"):
                self._client.api.remove_volume(name)
        except APIError as exc:
            if exc.status_code == 404:
                return True
            log.warning("volume %s stays: %s", name, words(exc))
            return False
        failpoints.hit("remove.volume")
        return True


def _only_detach(control: Control, end: exit_status.End) -> threading.Event:
    """What ends the reading of the rest: a word that comes now, not the one that ended the container."""
    return threading.Event() if end.killed_for is not None else control.changed
