"""One measured process: `worker.py PEER ORDER`, started by `processes.py`."""

import sys

import common
import peers

if __name__ == "__main__":
    common.main(peers.load(sys.argv[1]).roles())
