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
        "A9",
        "kills by the kernel for want of memory are told from others",
        "batchflow/pool/pool.py",
        "out_of_memory=was_killed and self._oom.claim(),",
        "out_of_memory=was_killed,",
        f"{PARALLEL}/test_out_of_memory.py::test_a_kill_by_somebody_else_is_no_lack_of_memory",
    ),
    Mutant(
        "A10",
        "a worker that had no memory makes room",
        "batchflow/parallel/supervision.py",
        'slot.retired = slot.retired or "no_memory" in kinds',
        "slot.retired = slot.retired",
        f"{PARALLEL}/test_supervision.py::test_a_worker_that_had_no_memory_makes_room_for_a_fresh_one",
    ),
    Mutant(
        "A14",
        "a step whose workers keep dying ends",
        "batchflow/parallel/supervision.py",
        "if too_often is not None:",
        "if False:",
        f"{PARALLEL}/test_isolation.py::test_workers_that_die_on_every_mini_batch_end_the_step_soon_and_in_few_words",
    ),
    Mutant(
        "A15",
        "there is a pause before a worker that never got ready is tried again",
        "batchflow/pool/backoff.py",
        "return now_s >= self._due_s",
        "return True",
        f"{PARALLEL}/test_supervision.py::test_a_worker_that_dies_before_it_is_ready_is_tried_again_after_a_pause",
    ),
    Mutant(
        "B5",
        "a worker that cannot be killed has no successor",
        "batchflow/parallel/supervision.py",
        "has_successor = not death.stuck and not (",
        "has_successor = not (",
        f"{PARALLEL}/test_supervision.py::test_a_worker_that_cannot_be_killed_is_left_behind",
    ),
    Mutant(
        "B8",
        "a worker leaves without the script's exit handlers",
        "batchflow/worker/loop.py",
        "    os._exit(status)",
        "    raise SystemExit(status)",
        f"{PARALLEL}/test_odd_scripts.py::test_what_the_script_leaves_running_does_not_hold_the_worker",
    ),
    Mutant(
        "C7",
        "a failing mini-batch is taken apart",
        "batchflow/parallel/setup.py",
        'isolate=settings.isolate_failures and settings.items != "any" and not settings.partition_keys,',
        "isolate=False,",
        f"{PARALLEL}/test_isolation.py::test_a_poison_item_costs_only_itself",
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
        "C15",
        "a long log gives up its middle",
        "batchflow/pool/logs.py",
        "if end - self._hole_end < STEP_SIZE:",
        "if True:",
        "tests/unit/pool/test_logs.py::test_of_a_long_log_the_beginning_and_the_end_are_kept",
    ),
    Mutant(
        "C18",
        "the worker goes back to its folder after each mini-batch",
        "batchflow/worker/home.py",
        "        _fchdir(self.folder)\n",
        "",
        "tests/unit/worker/test_home.py::test_who_leaves_is_noticed_and_comes_back",
    ),
    Mutant(
        "C19",
        "a worker whose descriptors were closed ends",
        "batchflow/worker/loop.py",
        "        port.keep_home(home.folder)\n",
        "",
        f"{PARALLEL}/test_faults.py::test_a_script_that_closes_our_descriptors_fails_by_itself",
    ),
    Mutant(
        "C21",
        "the guard gets the orphans",
        "batchflow/worker/guard.py",
        "    _prctl(_PR_SET_CHILD_SUBREAPER, 1)\n",
        "",
        f"{PARALLEL}/test_guard.py::test_daemons_end_with_the_step",
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
        "C24",
        "a worker that holds too much memory leaves",
        "batchflow/parallel/recycling.py",
        "if held > memory_max:",
        "if False:",
        f"{PARALLEL}/test_recycling.py::test_a_worker_that_holds_too_much_leaves_between_mini_batches",
    ),
    Mutant(
        "D7",
        "all workers execute the script as it was at the start",
        "batchflow/parallel/setup.py",
        "source=_source_of(settings.entry_script),",
        "source=None,",
        f"{CLI}/test_changes_during_a_run.py::test_a_script_that_is_edited_during_the_run_counts_from_the_next_run_on",
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
        "D9",
        "nobody forks a process of several threads",
        "batchflow/pool/pool.py",
        "if thread_count == 1 or self.spec.import_late:",
        "if True:",
        f"{PARALLEL}/test_init.py::test_an_import_that_starts_threads_is_left_to_the_workers",
    ),
    Mutant(
        "E6",
        "time in which nobody looked counts as one step",
        "batchflow/pool/watch.py",
        "min(max(0.0, now_s - self._seen_s), self._step_max_s)",
        "max(0.0, now_s - self._seen_s)",
        "tests/unit/pool/test_watch.py::test_a_time_in_which_nobody_looked_counts_as_one_step",
    ),
    Mutant(
        "E7",
        "workers are the first to go when memory ends",
        "batchflow/worker/loop.py",
        "path.write_text(str(min(1000, int(path.read_text()) + 500)))",
        "path.read_text()",
        f"{PARALLEL}/test_odd_scripts.py::test_when_memory_ends_workers_go_before_the_driver",
    ),
    Mutant(
        "E8",
        "what a killed guard leaves in its session is ended",
        "batchflow/pool/zygote_client.py",
        "            kill_session(process.pid)",
        "            pass",
        f"{PARALLEL}/test_guard.py::test_a_killed_guard_is_replaced_and_what_stayed_in_its_session_ended",
    ),
    Mutant(
        "E10",
        "a worker without rings is refused and asked for again",
        "batchflow/pool/pool.py",
        "            except OSError as error:  # no descriptor, no memory",
        "            except ZeroDivisionError as error:",
        f"{PARALLEL}/test_supervision.py::test_without_descriptors_for_rings_a_worker_is_asked_for_again",
    ),
    Mutant(
        "F1",
        "a full disk is waited for",
        "batchflow/parallel/committer.py",
        "if not self._wait_for_room(error):\n                    raise\n        self._committed_s",
        "if True:\n                    raise\n        self._committed_s",
        f"{CLI}/test_broken_disks.py::test_what_passes_is_not_even_seen_in_the_output",
    ),
    Mutant(
        "F2",
        "what does not fit into a log is lost",
        "batchflow/worker/capture.py",
        "if error.errno not in _NO_ROOM:",
        "if True:",
        f"{PARALLEL}/test_odd_scripts.py::test_a_log_that_cannot_grow_costs_no_item",
    ),
    Mutant(
        "F3",
        "a short write is continued",
        "batchflow/output/segment.py",
        "view, position = view[written:], position + written",
        "view, position = view[:0], position + written",
        f"{CLI}/test_broken_disks.py::test_what_passes_is_not_even_seen_in_the_output",
    ),
    Mutant(
        "F6",
        "a failed sync ends the run",
        "batchflow/parallel/committer.py",
        "            except NoRoomError as error:\n                if self._segment is not None:",
        "            except ResourceError as error:\n                if self._segment is not None:",
        f"{CLI}/test_broken_disks.py::test_a_failed_sync_is_never_tried_again",
    ),
    Mutant(
        "F9",
        "the output is looked at before each write",
        "batchflow/output/segment.py",
        "if _state(info) != self._state:",
        "if False:",
        f"{CLI}/test_broken_disks.py::test_an_output_that_somebody_else_touches_meanwhile_is_refused",
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
        "G2",
        "no shared memory is told in words",
        "batchflow/pool/zygote_client.py",
        'raise ResourceError(f"this machine gives no shared memory: {error.strerror}") from error',
        "raise",
        f"{CLI}/test_kernels.py::test_without_shared_memory_the_run_ends_in_words_and_can_be_continued",
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
        "tests/system/runner/test_crashes.py::test_a_lock_file_deleted_meanwhile_is_not_held_in_vain",
    ),
    Mutant(
        "L4",
        "an edit does not drop much work unasked",
        "batchflow/runner/resume.py",
        "if past.state.work_s >= WORK_AT_STAKE_S:",
        "if False:",
        f"{CLI}/test_interrupted_runs.py::test_a_script_that_was_edited_after_much_work_is_asked_about",
    ),
    Mutant(
        "L5",
        "other files are other work",
        "batchflow/runner/resume.py",
        "            if not is_over_others and",
        "            if False and",
        f"{CLI}/test_interrupted_runs.py::test_other_files_begin_anew_with_a_notice",
    ),
    Mutant(
        "L11",
        "committed bytes are checked on resume",
        "batchflow/parallel/committer.py",
        "        elif not is_right:",
        "        elif False:",
        f"{CLI}/test_interrupted_runs.py::test_an_output_that_was_edited_in_between_is_refused_or_put_right",
    ),
    Mutant(
        "L12",
        "retry finishes what a killed retry had done",
        "batchflow/runner/prospects.py",
        'return counted or ("" if past.is_over else "an output to finish")',
        "return counted",
        f"{CLI}/test_interrupted_runs.py::test_retry_does_the_failed_items_again_and_no_other",
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
