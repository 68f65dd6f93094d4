"""A worker of the house in a process of its own: `child.py URL`."""

import sys

from tests.webhooks.place import House

if __name__ == "__main__":
    House(sys.argv[1], lease=1.0).jobs.run_worker()
