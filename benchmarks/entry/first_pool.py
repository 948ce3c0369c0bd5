"""A script that uses ``multiprocessing.Pool``: prints when it had its first result, on the machine's clock."""

import multiprocessing
import time

if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        result = pool.apply(len, (["item"],))
        print(time.monotonic(), result)
