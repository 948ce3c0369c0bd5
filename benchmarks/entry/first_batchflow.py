"""A script that uses ``batchflow.Pool``: prints when it had its first result, on the machine's clock."""

import time

import batchflow

if __name__ == "__main__":
    with batchflow.Pool(2) as pool:
        result = pool.submit(len, ["item"]).result()
        print(time.monotonic(), result)
