"""What handles faults, and what is left when it is taken away: one mutant for an entry of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """``old`` stands exactly once in ``file`` and becomes ``new``; ``test`` is a node of pytest."""

    entry: str
    what: str
    file: str
    old: str
    new: str
    test: str

    def applied(self, text: str) -> str:
        """Raises ``ValueError`` where the source is no longer as the mutant knows it."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.entry}: the text stands {text.count(self.old)} times in {self.file}: {self.old!r}")
        return text.replace(self.old, self.new)


CLI = "tests/system/cli"
PARALLEL = "tests/system/parallel"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "B8",
        "a worker leaves without the script's exit handlers",
        "batchflow/worker/loop.py",
        "    os._exit(status)",
        "    raise SystemExit(status)",
        f"{PARALLEL}/test_odd_scripts.py::test_what_the_script_leaves_running_does_not_hold_the_worker",
    ),
    Mutant(
        "C12",
        "a result above its limit is refused by the worker",
        "batchflow/worker/loop.py",
        "if len(columns) + len(rows) > limit:",
        "if False:",
        f"{PARALLEL}/test_odd_scripts.py::test_a_huge_result_is_refused_where_it_was_made",
    ),
    Mutant(
        "C18",
        "the worker goes back to its folder after each mini-batch",
        "batchflow/worker/loop.py",
        "            fchdir(folder)\n",
        "            pass\n",
        f"{PARALLEL}/test_surroundings.py::test_the_working_directory_is_the_workflows_for_every_mini_batch",
    ),
    Mutant(
        "C19",
        "a worker whose descriptors were closed ends",
        "batchflow/worker/loop.py",
        "            os._exit(70)",
        "            return",
        f"{PARALLEL}/test_faults.py::test_a_script_that_closes_our_descriptors_fails_by_itself",
    ),
    Mutant(
        "C22",
        "the loop keeps names of its own",
        "batchflow/worker/loop.py",
        "_as_json = json.JSONEncoder().encode",
        "_as_json = lambda value: json.dumps(value)",
        f"{PARALLEL}/test_faults.py::test_a_script_that_spoils_modules_and_streams_disturbs_nobody",
    ),
    Mutant(
        "D8",
        "a script does not take the place of a module",
        "batchflow/worker/entry_script.py",
        'return f"entry_script_{stem}" if hides else stem',
        "return stem",
        "tests/unit/worker/test_entry_script.py::test_a_script_never_hides_a_module_that_has_its_name",
    ),
    Mutant(
        "E6",
        "time in which nobody looked counts as one step",
        "batchflow/pool/watch.py",
        "min(max(0.0, now_s - self._seen_s), self._step_max_s)",
        "max(0.0, now_s - self._seen_s)",
        f"{PARALLEL}/test_driver.py::test_a_driver_that_was_stopped_for_longer_than_the_timeout_blames_nobody",
    ),
    Mutant(
        "E7",
        "workers are the first to go when memory ends",
        "batchflow/worker/loop.py",
        'Path("/proc/self/oom_score_adj").write_text("500")',
        'Path("/proc/self/oom_score_adj").read_text()',
        f"{PARALLEL}/test_odd_scripts.py::test_when_memory_ends_workers_go_before_the_driver",
    ),
    Mutant(
        "F14",
        "a link is never replaced",
        "batchflow/output/publish.py",
        "if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):",
        "if False:",
        "tests/unit/runner/test_publish.py::test_a_symbolic_link_is_never_replaced",
    ),
    Mutant(
        "F21",
        "two renames where the kernel cannot exchange names",
        "batchflow/output/publish.py",
        "if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM):",
        "if number == errno.ENOTSUP:",
        f"{CLI}/test_kernels.py::test_a_kernel_without_what_we_prefer_is_good_enough",
    ),
    Mutant(
        "H18",
        "an i/o error while listing is the machine's",
        "batchflow/data/datasets.py",
        "frozenset({errno.EIO, errno.EMFILE",
        "frozenset({errno.EMFILE",
        "tests/unit/data/test_datasets.py::test_what_cannot_be_read_is_named_with_its_reason",
    ),
    Mutant(
        "K10",
        "a key has a bounded number of parts",
        "batchflow/workflow/limits.py",
        "KEY_PARTS_MAX = 16",
        "KEY_PARTS_MAX = 1 << 30",
        "tests/unit/workflow/test_limits.py::test_a_bomb_never_reaches_the_parser",
    ),
    Mutant(
        "L1",
        "the lock of a workflow has one holder",
        "batchflow/journal/lock.py",
        "fcntl.LOCK_EX | fcntl.LOCK_NB",
        "fcntl.LOCK_SH | fcntl.LOCK_NB",
        "tests/system/runner/test_crashes.py::test_of_many_racers_exactly_one_gets_the_lock_and_the_others_name_it",
    ),
    Mutant(
        "M6",
        "a quota of processors counts",
        "batchflow/cpus.py",
        "return allowed if quota is None else max(1, min(allowed, quota))",
        "return allowed",
        "tests/unit/test_cpus.py::test_the_quota_of_a_cgroup",
    ),
    Mutant(
        "M7",
        "closed streams are opened again",
        "batchflow/cli/streams.py",
        "if getattr(sys, name) is None:",
        "if False:",
        f"{CLI}/test_command.py::test_closed_streams_end_no_run",
    ),
    Mutant(
        "M10",
        "blocked signals are let through again",
        "batchflow/cli/signals.py",
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)",
        "pass",
        "tests/unit/cli/test_streams_signals_courier.py::test_blocked_signals_and_an_ignored_sigchld_are_undone",
    ),
    Mutant(
        "O4",
        "control characters are escaped",
        "batchflow/text.py",
        r'"\x00-\x08\x0b-\x1f\x7f-\x9f"',
        '""',
        "tests/unit/cli/test_text.py::test_what_could_act_on_a_terminal_is_shown_as_an_escape",
    ),
)
