# What a developer and CI call; every command is shown as it runs.
#
#     make build            the extension, in place, after a change in batchflow/_core.pyx or batchflow/core/
#     make check            style, types, stubs against the compiled core, spelling
#     make test             all tests             make unit     those that start no process
#     make system           tests with real processes
#     make slow             the tests that plain `make test` leaves out
#     make faults           the table of faults in docs/reliability.md, from the marks of the tests
#     make fault-mutants    take what handles a fault away, in a copy: the fault's test must fail
#     make stress           the ring's stress test, STRESS_RUNS times, with yields around every atomic access
#     make crash            kills, failing disks, power losses, every part of the crash machine, as for each commit
#     make crash-nightly    the same with at least ten times as many states
#     make soak             an hour of work with deaths every few seconds (SOAK="--minutes 600 --seed 1")
#     make crash-mutants    the product with known bugs in it, and which layer of the machine catches which
#     make ring-kills       deaths, wild bytes and lost wake-ups at the rings (RINGS="--budget nightly --seed 1")
#     make ring-mutants     the rings with known bugs in them, and what each check makes of them
#     make coverage         which branches of journal, commit, resume and supervision are reached: all, or it fails
#     make coverage-core    which lines of the rings are reached: all, or it fails
#     make sanitize         the core's tests under AddressSanitizer and UndefinedBehaviorSanitizer
#     make fuzz-csv         random CSV files, split and read, against Python's csv (FUZZ="--cases 10000 --seed 1")
#     make bench            all benchmarks (BENCH="--quick dispatch" for less)
#     make docs             execute the code blocks of the documentation
#     make clean            remove everything that was built here

PYTHON ?= python
STRESS_RUNS ?= 50
BENCH ?=
FUZZ ?=
RINGS ?=
SOAK ?= --minutes 60
CORE_TESTS = tests/unit/core tests/system/core tests/unit/tables/test_records.py tests/unit/tables/test_fuzz.py
# What must not be lost: every branch of it is reached by tests that start no process, so that this takes a minute.
COVERED = journal/* output/* pool/* failpoints.py private.py isolation.py mini_batches.py plan.py \
	parallel/books.py parallel/committer.py parallel/outcomes.py parallel/pieces.py parallel/profiling.py parallel/recycling.py \
	parallel/restarts.py parallel/runner.py parallel/supervision.py \
	runner/contents.py runner/leftovers.py runner/parallel_steps.py runner/prospects.py runner/resume.py
# Its tests start it.
PROGRAMS = output/typed_child.py
COVERAGE_TESTS = $(addprefix tests/unit/,journal output parallel pool runner test_*.py)
COMMA = ,
STRESS_TESTS = tests/system/core/test_ring_stress.py
# Special builds get a copy of the sources, so that the normal build stays as it is.
COPY = mkdir -p $(1) && tar -c --exclude='*.so' --exclude=_core.c --exclude=__pycache__ \
	setup.py pyproject.toml README.md LICENSE batchflow | tar -x -C $(1)
ASAN = $$(gcc -print-file-name=libasan.so)

.PHONY: build check test unit system slow faults fault-mutants stress crash crash-nightly soak crash-mutants ring-kills ring-mutants coverage coverage-core sanitize fuzz-csv bench docs clean

build:
	$(PYTHON) setup.py build_ext --inplace

check:
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy.stubtest batchflow._core --mypy-config-file pyproject.toml --allowlist tests/stubtest-allowlist.txt --ignore-disjoint-bases
	$(PYTHON) -m codespell_lib

test:
	$(PYTHON) -m pytest

unit:
	$(PYTHON) -m pytest tests/unit

system:
	$(PYTHON) -m pytest tests/system

slow:
	$(PYTHON) -m pytest -m slow

faults:
	$(PYTHON) -m tests.faults

fault-mutants:
	$(PYTHON) -m tests.faults.mutants

# The tests run from the copy's folder: the first batchflow on the path is the copy.
stress:
	$(call COPY,build/perturb)
	cd build/perturb && PERTURB=1 $(PYTHON) setup.py -q build_ext --inplace
	cd build/perturb && for run in $$(seq $(STRESS_RUNS)); do \
		$(PYTHON) -m pytest -q -p no:cacheprovider $(addprefix ../../,$(STRESS_TESTS)) || exit 1; done

crash:
	$(PYTHON) -m tests.crash --budget quick

crash-nightly:
	$(PYTHON) -m tests.crash --budget nightly

soak:
	$(PYTHON) -m tests.crash.soak $(SOAK)

crash-mutants:
	$(PYTHON) -m tests.crash.mutants

ring-kills:
	$(PYTHON) -m tests.crash.rings $(RINGS)

ring-mutants:
	$(PYTHON) -m tests.crash.ring_mutants

coverage:
	mkdir -p build
	$(PYTHON) -m coverage run -m pytest -q -p no:cacheprovider $(COVERAGE_TESTS)
	$(PYTHON) -m coverage report --include='$(subst $() $(),$(COMMA),$(addprefix batchflow/,$(COVERED)))' \
		--omit='$(addprefix batchflow/,$(PROGRAMS))' --fail-under=100

coverage-core:
	$(PYTHON) -m tests.crash.rings.coverage

sanitize:
	$(call COPY,build/sanitize)
	cd build/sanitize && SANITIZE=1 $(PYTHON) setup.py -q build_ext --inplace
	cd build/sanitize && LD_PRELOAD=$(ASAN) ASAN_OPTIONS=detect_leaks=0 \
		$(PYTHON) -m pytest -q -p no:cacheprovider $(addprefix ../../,$(CORE_TESTS))

fuzz-csv:
	$(PYTHON) -m tests.fuzz $(FUZZ)
	$(PYTHON) -m tests.fuzz.reading

bench:
	$(PYTHON) -m benchmarks $(BENCH)

docs:
	$(PYTHON) -m pytest tests/system/test_documentation.py

clean:
	rm -rf build dist batchflow.egg-info batchflow/_core.c batchflow/_core.*.so \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis
	find batchflow benchmarks tests workflows -name __pycache__ -type d -prune -exec rm -rf {} +
