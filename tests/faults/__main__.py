"""Write the table of faults into ``docs/reliability.md``: ``python -m tests.faults``."""

from __future__ import annotations

from tests.faults.table import DOCUMENT, Catalogue, all_marks, by_entry, table, written


def main() -> None:
    catalogue, tests = Catalogue.read(), by_entry(all_marks())
    DOCUMENT.write_text(written(DOCUMENT.read_text("utf-8"), table(catalogue, tests)), "utf-8")
    missing = [entry for entry in catalogue.entries if entry not in tests and entry not in catalogue.elsewhere]
    print(f"{len(catalogue.entries) - len(missing)} of {len(catalogue.entries)} entries are automated")
    print("without a test:", " ".join(missing))


if __name__ == "__main__":
    main()
