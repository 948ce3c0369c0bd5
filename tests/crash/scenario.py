"""A crash state as one line of text, and playing it: what is explored and what replays a failure are the same.

text-spill kill@41                 killed before operation 41 of the first run, then resumed
text-spill kill@41/500             in the middle of the write 41, half of it written
csv#1 kill@9 kill@12               phase 1: killed, then killed again while it resumes
text fail@41=EIO fail@3=ENOSPC+    operation 41 fails; in the next run number 3 and all that need room
text short@41  short@41+           a short write, once, always; short@41=ENOSPC: short, then no room
text read@7=EIO                    a read fails
text cut@57=none,0                 power loss after operation 57: nothing unsynced survived, no pending name
text cut@57=r3,2 cut@9=size,0      sectors by seed 3, two pending names; then another loss during the resume
text cut@57=none,0 exit            nothing may be left to do: the file is complete without a resume
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field, replace

from tests.crash.checker import check_unfinished
from tests.crash.control import Entry
from tests.crash.disk import Disk, Tree
from tests.crash.lab import Arming, Lab, Outcome
from tests.crash.workloads import LINGERING, WORKLOADS, Workload

OTHER_BOOT = "00000000-0000-4000-8000-{:012d}"
FAULT_EXIT_CODES = (0, 4)
"""What a run may end with when the machine fails: done all the same, or given up resumably."""
READ_EXIT_CODES = (0, 4, 6)
"""What cannot be read may also be refused as damaged: nothing has been changed."""


@dataclass(frozen=True)
class Event:
    """What happens to one run."""

    kind: str
    """kill, fail, short, read, cut or exit."""
    at: int = 0
    permille: int | None = None
    error: str = ""
    for_ever: bool = False
    data: str = ""
    names: int = 0

    def __str__(self) -> str:
        if self.kind == "exit":
            return "exit"
        if self.kind == "kill":
            return f"kill@{self.at}" + ("" if self.permille is None else f"/{self.permille}")
        if self.kind == "cut":
            return f"cut@{self.at}={self.data},{self.names}"
        return f"{self.kind}@{self.at}" + (f"={self.error}" if self.error else "") + "+" * self.for_ever

    @property
    def arming(self) -> Arming:
        if self.kind == "kill":
            return Arming(kill_at=self.at, permille=self.permille)
        if self.kind == "read":
            return Arming(fail_read_at=self.at, error=self.error)
        if self.kind == "cut":
            return Arming(log=True)
        is_short = self.kind == "short"
        for_ever = self.for_ever or (is_short and bool(self.error))
        return Arming(fail_at=self.at, error=self.error, short_first=is_short, for_ever=for_ever)


_EVENT = re.compile(r"(kill|fail|short|read|cut)@(\d+)(?:/(\d+))?(?:=(\w+)(?:,(\d+))?)?(\+?)")


def parse_event(text: str) -> Event:
    if text == "exit":
        return Event("exit")
    match = _EVENT.fullmatch(text)
    if match is None:
        raise ValueError(f"not an event: {text!r}")
    kind, at, permille, value, names, ever = match.groups()
    if kind == "cut":
        return Event(kind, int(at), data=value, names=int(names))
    return Event(kind, int(at), None if permille is None else int(permille), value or "", bool(ever))


@dataclass(frozen=True)
class Scenario:
    """Events of consecutive runs of one phase; then the command is given until it ends as it must."""

    workload: str
    events: tuple[Event, ...]
    phase: int = 0

    def __str__(self) -> str:
        name = self.workload + (f"#{self.phase}" if self.phase else "")
        return " ".join([name, *map(str, self.events)])

    @classmethod
    def parse(cls, text: str) -> Scenario:
        name, *events = text.split()
        workload, _, phase = name.partition("#")
        return cls(workload, tuple(map(parse_event, events)), int(phase or 0))


@dataclass
class Verdict:
    """What came of a scenario."""

    violations: list[str] = field(default_factory=list)
    hits: list[str] = field(default_factory=list)
    """What each event met, in words."""
    is_silent: bool = False
    """A run that said it was done had left wrong files."""
    missed: int = 0
    """Events whose operation never came: the run was shorter than the one that was counted."""


@dataclass
class Logged:
    """A run with all its operations, and the disk under it when it began."""

    disk: Disk
    shown: dict[int, int]
    outcome: Outcome

    def disk_at(self, number: int) -> Disk:
        """After operation ``number``."""
        return self.disk.copy().apply(self.entries(number), self.shown)

    def entries(self, number: int) -> list[Entry]:
        return [one for one in self.outcome.log if one.number <= number]

    def done_at(self, number: int) -> int:
        """Items that had been reported as succeeded by then."""
        return max((done for count, done in self.outcome.report.get("reported", ()) if count <= number), default=0)


class Player:
    """Plays scenarios in a laboratory; remembers the logs of the last few runs that power losses start from."""

    def __init__(self, lab: Lab, workloads: dict[str, Workload] | None = None) -> None:
        self._lab = lab
        self._workloads = workloads or {**WORKLOADS, LINGERING.name: LINGERING}
        self._logged: dict[str, Logged] = {}
        self._disk = Disk({})
        """Under the laboratory's folder, as far as it is followed."""
        self._follows = False
        """Runs are logged, because a power loss is to come: what a killed run wrote is not yet durable then."""
        self._boot = ""

    def play(self, scenario: Scenario) -> Verdict:
        """All of it, from an empty folder."""
        verdict = Verdict()
        promised = self._begin(scenario, len(scenario.events), verdict)
        if verdict.violations:
            return verdict
        if scenario.events and scenario.events[-1].kind == "exit":
            self._must_be_complete(scenario.phase, verdict)
        else:
            self._finish(scenario, promised, verdict)
        return verdict

    def logged(self, scenario: Scenario) -> Logged:
        """A logged run of the command after the scenario's events."""
        key = str(scenario)
        if key not in self._logged:
            self._follows = True
            self._begin(scenario, len(scenario.events), Verdict())
            self._follows = False
            shown, disk = self._lab.shown, self._disk
            outcome = self._lab.run(scenario.phase, Arming(log=True, boot=self._boot))
            while len(self._logged) >= 8:
                del self._logged[next(iter(self._logged))]
            self._logged[key] = Logged(disk, shown, outcome)
        return self._logged[key]

    def _begin(self, scenario: Scenario, event_count: int, verdict: Verdict) -> int:
        """The state after the first events; returns how many items had been promised to be done."""
        lab, workload = self._lab, self._workloads[scenario.workload]
        cuts = [k for k, event in enumerate(scenario.events[:event_count]) if event.kind == "cut"]
        promised = 0
        if cuts:
            promised = self._cut(scenario, cuts[-1], verdict)
        else:
            lab.set_up(workload)
            lab.clear()
            self._boot = ""
            self._disk = Disk({})
            for phase_index in range(scenario.phase):
                outcome = lab.run(phase_index, Arming(log=self._follows))
                self._disk.apply(outcome.log, lab.shown)
                self._expect(workload, phase_index, outcome, verdict)
        for event in scenario.events[cuts[-1] + 1 if cuts else 0 : event_count]:
            if event.kind != "exit":
                promised = max(promised, self._happen(scenario, event, verdict))
        return promised

    def _cut(self, scenario: Scenario, index: int, verdict: Verdict) -> int:
        event = scenario.events[index]
        follows, self._follows = self._follows, False
        logged = self.logged(Scenario(scenario.workload, scenario.events[:index], scenario.phase))
        self._follows = follows
        if event.at > logged.outcome.op_count:
            verdict.missed += 1
        tree = logged.disk_at(event.at).after_power_loss(event.data, event.names)
        done = self._put_back(scenario, tree, logged, index, verdict)
        is_promised = self._workloads[scenario.workload].is_durable(scenario.phase)
        return done if is_promised and all(one.kind in ("kill", "cut") for one in scenario.events) else 0

    def _put_back(self, scenario: Scenario, tree: Tree, logged: Logged, index: int, verdict: Verdict) -> int:
        """Make the folder hold what the power loss left, on a machine that was booted anew; what had been promised."""
        at = scenario.events[index].at
        self._lab.set_up(self._workloads[scenario.workload])
        self._lab.restore(tree)
        self._disk = Disk(tree)
        self._boot = OTHER_BOOT.format(index + 1)
        met = next((one.describe() for one in reversed(logged.entries(at))), "nothing")
        verdict.hits.append(f"power loss after {met}")
        verdict.violations += self._lab.unfinished(scenario.phase)
        return logged.done_at(at)

    def _happen(self, scenario: Scenario, event: Event, verdict: Verdict) -> int:
        """One run to which a kill or a fault happens."""
        lab, phase_index = self._lab, scenario.phase
        workload = self._workloads[scenario.workload]
        outcome = lab.run(phase_index, replace(event.arming, log=self._follows, boot=self._boot))
        if self._follows:
            self._disk.apply(outcome.log, lab.shown)
        verdict.hits.append(outcome.describe())
        if event.kind == "kill":
            if outcome.signal != signal.SIGKILL:
                verdict.missed += 1
                self._expect(workload, phase_index, outcome, verdict)
        elif not outcome.fault_count:
            verdict.missed += 1
            self._expect(workload, phase_index, outcome, verdict)
        elif outcome.exit_code == workload.phases[phase_index].exit_code:
            # What could not be removed may still lie there: the run that follows has to remove it.
            found = [one for one in lab.finished(phase_index) if not one.startswith("leftover")]
            verdict.is_silent = bool(found)
            verdict.violations += [f"after a fault and exit {outcome.exit_code}: {one}" for one in found]
        elif outcome.exit_code not in (READ_EXIT_CODES if event.kind == "read" else FAULT_EXIT_CODES):
            verdict.violations.append(f"a fault ended with {outcome.describe()}")
        verdict.violations += lab.unfinished(phase_index)
        # What a failed sync lost may come back to life in the page cache and be lost again: nothing is promised then.
        return outcome.done if event.kind == "kill" else 0

    def _finish(self, scenario: Scenario, promised: int, verdict: Verdict) -> None:
        """The same command again, and those of the later phases."""
        workload, first_phase = self._workloads[scenario.workload], scenario.phase
        may_keep_logs = any(event.kind != "kill" for event in scenario.events)
        for phase_index in range(first_phase, len(workload.phases)):
            phase = workload.phases[phase_index]
            outcome = self._lab.run(phase_index, Arming(boot=self._boot))
            self._expect(workload, phase_index, outcome, verdict, may_keep_logs=may_keep_logs)
            expected = self._lab.expectation(phase_index)
            most = len(expected.items) - len(expected.failed) - promised
            if phase.executed_max is not None:
                most = phase.executed_max
            if outcome.executed > most:
                told = f"P9 {promised} items had been reported as done, {outcome.executed} were run again"
                verdict.violations.append(f"phase {phase_index}: {told}")
            promised = 0 if phase.exit_code == 0 else outcome.done  # the next phase goes on with it

    def _expect(
        self, workload: Workload, phase_index: int, outcome: Outcome, verdict: Verdict, *, may_keep_logs: bool = False
    ) -> None:
        """A run that nothing happened to must end as its phase says."""
        wanted = workload.phases[phase_index].exit_code
        if outcome.exit_code != wanted:
            verdict.violations.append(f"phase {phase_index}: {outcome.describe()}, expected exit {wanted}")
            return
        found = self._lab.finished(phase_index)
        if may_keep_logs:
            # A database that could not be closed keeps its log until it is opened again, and a power loss may bring
            # back one that was removed; where nothing is left to do, nobody opens it.
            found = [one for one in found if not re.fullmatch(r"leftover .*\.db-(wal|shm)", one)]
        verdict.is_silent = verdict.is_silent or bool(found)
        verdict.violations += [f"phase {phase_index}: {one}" for one in found]

    def _must_be_complete(self, phase_index: int, verdict: Verdict) -> None:
        """After exit 0 no power loss may leave anything but the complete new file."""
        expected = replace(self._lab.expectation(phase_index), previous=None)
        if expected.output is not None and not expected.output.exists():
            verdict.violations.append("L3b the command had ended with 0, and its output is not there")
        verdict.violations += [one for one in check_unfinished(expected) if one not in verdict.violations]
