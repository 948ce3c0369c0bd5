"""Write the tables of faults into ``docs/reliability.md`` and ``SECURITY.md``: ``python -m tests.faults``."""

from __future__ import annotations

from tests.faults.table import DOCUMENTS, Catalogue, all_marks, by_entry, table, written


def main() -> None:
    tests = by_entry(all_marks())
    for path, document in DOCUMENTS.items():
        catalogue = Catalogue.read(path)
        document.write_text(written(document.read_text("utf-8"), table(catalogue, tests)), "utf-8")
        missing = [entry for entry in catalogue.entries if entry not in tests and entry not in catalogue.elsewhere]
        print(f"{document.name}: {len(catalogue.entries) - len(missing)} of {len(catalogue.entries)} are automated")
        print("without a test:", " ".join(missing))


if __name__ == "__main__":
    main()
