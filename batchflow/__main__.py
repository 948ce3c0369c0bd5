"""The command ``batchflow``."""


def main() -> int:
    """Run the command line and return its exit code."""
    from batchflow.cli.main import main as run

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
