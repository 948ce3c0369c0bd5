"""A script that has a fresh interpreter say a word: the least for workers that are not forked from the caller."""

import subprocess
import sys
import time

if __name__ == "__main__":
    word = subprocess.run([sys.executable, "-c", "print(1)"], stdout=subprocess.PIPE, text=True, check=True).stdout
    print(time.monotonic(), word.strip())
