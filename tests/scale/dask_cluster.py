"""A Dask cluster of two workers on the loopback, which prints its address and ends with its standard input."""

import sys

if __name__ == "__main__":
    from dask.distributed import LocalCluster  # here, as pytest imports every module for its doctests

    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
