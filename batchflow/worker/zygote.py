"""The process that workers are forked from: fresh, single-threaded, with the user's code imported once.

It is the copy of a process that the driver exec'd and that stays behind as its guard.  It loads the user's code, then
forks a worker whenever it is asked to, and reports how each one ended.  It never runs ``init()`` or ``run()``, and
never touches data.

The conversation, one JSON object for each message on a SOCK_SEQPACKET socket:

    driver → zygote   {"op": "input", "description": …} + descriptors: see ``inputs``
                      {"op": "fork", "worker": k, "generation": g} + descriptors: rings, eventfd, log (or none)
    zygote → driver   {"event": "loaded", "threads": n, "culprit": module or null}
                      {"event": "load_failed", …a description of the failure}
                      {"event": "forked", "worker", "generation", "pid"} + the worker's pidfd
                      {"event": "fork_failed", "worker", "generation", "message"}
                      {"event": "exited", "worker", "generation", "pid", "signal", "exit_code", "peak_rss"}
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from batchflow import _core
from batchflow.worker import capture, guard, home, lifeline, loop, threads, wire
from batchflow.worker.failures import bounded, describe_failure
from batchflow.worker.inputs import WorkerInputs
from batchflow.worker.spec import WorkerSpec
from batchflow.worker.user_code import UserCode, load_user_code

_TRACEBACK_SIZE_MAX = 1 << 14
"""With a message of 8 KiB it fits one message, whatever JSON makes of the characters."""
_DESCRIPTORS_MIN = 2
"""With a fork: the rings and the eventfd.  Fewer arrive when this process may not have more open files."""


class Zygote:
    """Forks on request, until the driver closes the socket."""

    def __init__(self, control: socket.socket, spec: WorkerSpec, pickled: bytes, lifeline_fd: int) -> None:
        self._control = control
        self._spec = spec
        self._pickled = pickled
        self._lifeline_fd = lifeline_fd
        self._code: UserCode | None = None
        self._inputs = WorkerInputs()
        self._may_fork = False
        self._theirs: Any = signal.SIG_DFL
        """What the user's code does about SIGCHLD: for the workers, not for us."""
        self._children: dict[int, tuple[int, int, int]] = {}  # pidfd → (worker, generation, pid)

    def load(self) -> None:
        """Load the user's code unless the workers shall, and report."""
        watch = threads.ThreadWatch()
        is_shared = False
        gc.enable()
        try:
            if not self._spec.import_late:
                with watch:
                    self._code = load_user_code(self._spec, self._pickled)
                    is_shared = self._code.init_shared()
        except BaseException as error:
            description = describe_failure(error)
            traceback = bounded(description["traceback"], _TRACEBACK_SIZE_MAX)
            self._send({"event": "load_failed", **description, "traceback": traceback})
            return
        # A script that ignores SIGCHLD, or reaps in its handler, would take our children's ends from us.
        self._theirs = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        thread_count = threads.thread_count()
        # A fork of several threads could deadlock: the driver begins again with a zygote that imports late.
        self._may_fork = thread_count == 1 or self._spec.import_late
        self._send({"event": "loaded", "threads": thread_count, "culprit": watch.culprit})
        if is_shared:  # what only imports modules leaves next to no garbage, and much to search for it
            gc.collect()
        gc.freeze()

    def serve(self) -> None:
        """Answer until the driver is gone."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            for pidfd in self._children:
                poll.register(pidfd, select.POLLIN)
            for descriptor, _ in poll.poll():
                if descriptor in self._children:
                    poll.unregister(descriptor)
                    self._reap(descriptor)
                elif not self._answer():
                    return

    def _answer(self) -> bool:
        message, descriptors = wire.receive(self._control)
        if not message:
            return False
        request: dict[str, Any] = json.loads(message)
        if request["op"] == "input":
            self._inputs.attach(request["description"], descriptors)
        elif self._may_fork:
            self._fork(request["worker"], request["generation"], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _fork(self, worker: int, generation: int, descriptors: list[int]) -> None:
        parent = os.getpid()
        capture.flush_output()
        pid = -1
        try:
            if len(descriptors) < _DESCRIPTORS_MIN:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            pid = os.fork()
            if pid == 0:
                self._become_worker(parent, worker, generation, descriptors)
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            if pid > 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            self._send({"event": "fork_failed", "worker": worker, "generation": generation, "message": str(error)})
            return
        self._children[pidfd] = (worker, generation, pid)
        self._send({"event": "forked", "worker": worker, "generation": generation, "pid": pid}, pidfd)

    def _become_worker(self, parent: int, worker: int, generation: int, descriptors: list[int]) -> NoReturn:
        try:
            guard.die_with_parent(parent)
            os.setpgid(0, 0)
            if self._theirs is not None:
                signal.signal(signal.SIGCHLD, self._theirs)
            self._control.close()
            os.close(self._lifeline_fd)
            for pidfd in self._children:
                os.close(pidfd)
            rings, event_fd, *log = descriptors
            port = _core.Port(rings, event_fd, generation)
            os.close(rings)
            if log:
                capture.redirect_output(log[0])
                os.close(log[0])
            loop.work(self._spec, self._code, self._pickled, self._inputs, port, worker)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(70)
        os._exit(0)

    def _reap(self, pidfd: int) -> None:
        worker, generation, pid = self._children.pop(pidfd)
        os.close(pidfd)
        _kill_group(pid)
        _, status, usage = os.wait4(pid, 0)
        self._send(
            {
                "event": "exited",
                "worker": worker,
                "generation": generation,
                "pid": pid,
                "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
                "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
                "peak_rss": usage.ru_maxrss * 1024,
            }
        )

    def _send(self, message: dict[str, Any], *descriptors: int) -> None:
        socket.send_fds(self._control, [json.dumps(message).encode()], list(descriptors))


def main(lifeline_fd: int, control_fd: int, spec_fd: int, pickled_fd: int) -> NoReturn:
    """Until the driver is gone; what lives then is the guard's.  All are inherited descriptors, the last may be -1."""
    for inherited in (control_fd, lifeline_fd, spec_fd, pickled_fd):
        if inherited >= 0:
            os.set_inheritable(inherited, False)
    lifeline.hang_on(lifeline_fd)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    spec = WorkerSpec.from_json(_read(spec_fd))
    pickled = _read(pickled_fd) if pickled_fd >= 0 else b""
    with socket.socket(fileno=control_fd) as control:
        zygote = Zygote(control, spec, pickled, lifeline_fd)
        if spec.folder is not None:
            os.chdir(spec.folder)
        if spec.kind == "script":
            home.watch()
        with contextlib.suppress(BrokenPipeError):  # the driver went while we spoke
            zygote.load()
            zygote.serve()
    os._exit(0)


def _kill_group(pid: int) -> None:
    """End a worker with all that it started; the pid is ours as long as it is not reaped."""
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        file.seek(0)
        return file.read()
