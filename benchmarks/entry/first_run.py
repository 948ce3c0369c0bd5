"""A script that runs ``workflow.toml`` in its folder: prints when the workflow was done, on the machine's clock."""

import time

import batchflow

if __name__ == "__main__":
    record = batchflow.run("workflow.toml")
    print(time.monotonic(), record.receipt("score").succeeded)
