"""A child's output arrives on its descriptor line by line, whoever writes it and however the child ends."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

PROLOGUE = """
import os, sys, logging, ctypes, signal, subprocess
from batchflow.worker import capture, variables
libc = ctypes.CDLL(None)
"""


@pytest.fixture
def child(tmp_path):
    """Run code in a fresh interpreter that redirects its output into a file; returns (file content, exit code)."""

    def child(code, *, before=""):
        log = tmp_path / "log"
        start = f"capture.redirect_output(os.open({str(log)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))\n"
        source = PROLOGUE + textwrap.dedent(before) + start + textwrap.dedent(code)
        done = subprocess.run(
            [sys.executable, "-c", source],
            input=b"typed\n",
            capture_output=True,
            timeout=60,
            env=os.environ | {"LC_ALL": "C"},
        )
        assert done.stdout == b""
        assert done.stderr == b""
        return log.read_bytes(), done.returncode

    return child


def test_whoever_writes_it_arrives(child):
    content, code = child(
        r"""
        print("python")
        print("to stderr", file=sys.stderr)
        print("kept", file=sys.__stdout__)
        os.write(1, b"descriptor\n")
        libc.puts(b"c library")
        subprocess.run(["echo", "subprocess"])
        print("odd: \udce9 ä", repr(sys.stdin.read()))
        """
    )
    assert code == 0
    assert content.decode().splitlines() == [
        "python",
        "to stderr",
        "kept",
        "descriptor",
        "c library",
        "subprocess",
        r"odd: \udce9 ä ''",
    ]


def test_finished_lines_survive_a_kill(child):
    content, code = child(
        """
        print("python")
        libc.puts(b"c library")
        print("begun", end="")
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert code == -9
    assert content == b"python\nc library\n"


def test_begun_lines_are_written_by_flush_output(child):
    content, code = child(
        """
        print("python", end=" ")
        sys.stderr.close()
        libc.fdopen.restype = ctypes.c_void_p
        file = ctypes.c_void_p(libc.fdopen(1, b"w"))
        libc.fputs(b"c library", file)
        capture.flush_output()
        os._exit(3)
        """
    )
    assert (content, code) == (b"python c library", 3)


def test_a_stream_kept_from_before_writes_to_the_same_place(child):
    content, _ = child("print('new'); kept.write('old\\n'); kept.flush()", before="kept = sys.stdout\n")
    assert content == b"new\nold\n"


def test_a_crash_leaves_the_stack(child):
    content, code = child("def run(): os.abort()\nrun()")
    assert code == -6
    assert b"Fatal Python error: Aborted" in content
    assert b"in run" in content


@pytest.mark.fault("M7")
def test_descriptors_closed_at_the_start_do_no_harm(child):
    content, code = child("print('fine'); print(os.get_inheritable(1))", before="os.close(0); os.close(2)\n")
    assert (content, code) == (b"fine\nTrue\n", 0)


def test_thread_pools_that_are_loaded_are_raised(child):
    content, code = child(
        """
        import numpy, threadpoolctl
        before = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
        capture.raise_thread_caps(1)
        assert [pool["num_threads"] for pool in threadpoolctl.threadpool_info()] == before
        capture.raise_thread_caps(3)
        print(before, [pool["num_threads"] for pool in threadpoolctl.threadpool_info()])
        """,
        before="os.environ.update(variables.zygote_environment(os.environ))\n",
    )
    assert (content, code) == (b"[1] [3]\n", 0)
