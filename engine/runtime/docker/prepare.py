"""prepare: find or create the container of a link, by the rules of docs/protocol.rst."""

from __future__ import annotations

import time
from typing import Any

from engine import failpoints
from engine.errors import (
    DataDirectoryFault,
    Gone,
    HostAccessDenied,
    MachineFault,
    NotOurs,
    RuntimeUnavailable,
    Unstartable,
)
from engine.runtime.base import Control, Detached, LogSink, Order, Prepared, PreparedState, Resource
from engine.runtime.docker import container, files, images, options, sandbox, volumes, writable
from engine.runtime.docker.host import Host
from engine.runtime.docker.wait import TICK_SECONDS

#: How long a name may stay taken by a container that is being removed.
_NAME_TAKEN_SECONDS = 10.0


def why_refused(host: Host, order: Order) -> str:
    """Return why the host access forbids the order's container; "" when it allows it."""
    if not order.mounts and not order.networks:
        # Without use of the host it does not matter whether files are shared, which may take a probe.
        return options.denial(order, host.access)
    try:
        host.allowed_mounts(order)
    except Unstartable as exc:
        # If the order itself is wrong, `prepare` tells its owner.
        return str(exc) if isinstance(exc, HostAccessDenied) else ""
    except MachineFault as exc:
        return str(exc)
    return ""


def prepare(host: Host, order: Order, sink: LogSink, control: Control) -> Prepared:
    """Find or create the link's container. See engine.runtime.base."""
    return _Preparation(host, order, sink, control).run()


def discard(host: Host, prepared: Prepared) -> None:
    """Remove, without force, a container that was created and not confirmed."""
    if prepared.state is not PreparedState.CREATED:
        return
    if container.remove(host.client, prepared.container_id, force=False):
        host.remove_work_directory(prepared.order)


class _Preparation:
    """State of a call of `prepare`."""

    def __init__(self, host: Host, order: Order, sink: LogSink, control: Control) -> None:
        self._host = host
        self._client = host.client
        self._order = order
        self._sink = sink
        self._control = control

    def run(self) -> Prepared:
        order, control = self._order, self._control
        # No container can be older than a first delivery: creating is tried without a look.
        must_look = (order.run.attempt, order.delivery) != (1, 1)
        deadline = time.monotonic() + _NAME_TAKEN_SECONDS
        if order.spec.pull == "always" and not (must_look and self._look()):
            self._host.allowed_mounts(order)
            self._pull()
        while True:
            if control.detached:
                raise Detached
            listed = self._look() if must_look else None
            must_look = True
            prepared = self._take_existing(listed) if listed is not None else None
            if prepared is not None:
                return prepared
            # A kill prevents a creation, but an existing container is not left alone.
            if listed is None and control.changed.is_set():
                raise Detached
            try:
                with self._host.activity.busy():
                    # Checked before each create: the order may come from a host with other settings.
                    return self._create(self._host.allowed_mounts(order))
            except container.NameTaken:
                if time.monotonic() > deadline:
                    reason = f"the name {order.name} is taken by a container that is not Ferryman's"
                    raise Unstartable(reason) from None

    def _look(self) -> Resource | None:
        return container.look(self._client, self._order, self._host.remove_work_directories)

    def _take_existing(self, listed: Resource) -> Prepared | None:
        """Return how the container of this name goes on; None when it is gone, or will be: look again."""
        order, state = self._order, container.inspect(self._client, listed.id)
        if state is None:
            return None
        if state.delivery > order.delivery:
            raise NotOurs(f"{order.name} was created by delivery {state.delivery}, this is {order.delivery}")
        if state.status == "created":
            if state.delivery == order.delivery:
                raise NotOurs(f"{order.name} was created under this token by another thread")
            if state.out is not None:
                files.make_unstartable(state.out)
            state = container.inspect(self._client, listed.id)
        is_created = state is not None and state.status == "created"
        if state is None or (is_created and container.remove(self._client, listed.id, force=False)):
            return None
        if is_created or state.status == "removing":
            time.sleep(TICK_SECONDS)
            return None
        return Prepared(order, listed.id, PreparedState.EXITED if state.has_ended else PreparedState.RUNNING)

    def _create(self, mounts: list[dict[str, Any]]) -> Prepared:
        host, order = self._host, self._order
        bound = self._make_files() if host.shared_files.are_shared() else None
        if not order.needs_volumes:
            volumes.make(self._client, order)
            failpoints.hit("prepare.volume")
        body = options.create_body(order, host.settings, mounts, bound)
        try:
            container_id = self._create_or_pull(body)
        except (Unstartable, MachineFault, RuntimeUnavailable, Detached) as exc:
            host.remove_work_directory(order)
            if not isinstance(exc, Detached):
                sandbox.raise_if_died(self._client, order, exc)
            raise
        prepared = Prepared(order, container_id, PreparedState.CREATED)
        try:
            self._equip(container_id, are_files_bound=bound is not None)
        except (Gone, Unstartable, MachineFault) as exc:
            discard(host, prepared)
            if isinstance(exc, Gone):
                volumes.remove_unlabelled(self._client, order)
            raise
        return prepared

    def _make_files(self) -> options.BoundFiles:
        path = self._host.work_directory(self._order)
        try:
            return options.BoundFiles(path / "out", files.make_directory(path, self._order))
        except OSError as exc:
            raise DataDirectoryFault(f"the data directory cannot be used: {exc}") from exc

    def _create_or_pull(self, body: dict[str, Any]) -> str:
        order = self._order
        try:
            return container.create(self._host, order, body)
        except container.ImageMissing:
            self._pull()
            if not order.needs_volumes:
                # The pull may have lasted until somebody's `docker volume prune`.
                volumes.make(self._client, order)
        if self._control.changed.is_set():
            raise Detached
        try:
            return container.create(self._host, order, body)
        except container.ImageMissing:
            raise Unstartable(
                f"the image {order.spec.image} was removed just after it was pulled: submit the task again",
                125,
            ) from None

    def _pull(self) -> None:
        with self._control.timings.span("pulling"):
            timeout = self._host.settings.pull_timeout_seconds
            images.ensure(self._client, self._order.spec.image, self._sink, self._control, timeout)

    def _equip(self, container_id: str, *, are_files_bound: bool) -> None:
        """Add what the create call could not: further networks, checked volumes, copied files."""
        container.join_networks(self._host, self._order, container_id)
        if self._order.needs_volumes:
            volumes.check(self._client, self._order)
        writable.open_to_user(self._host, self._order, container_id)
        if are_files_bound:
            return
        archive, refusal = files.archive(self._order), "Docker does not take the task's files"
        container.copy_in(self._host, self._order, container_id, archive, refusal)
