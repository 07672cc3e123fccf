#!/usr/bin/env python3
"""Jobs by dask.distributed, as bench/cluster.c has them by casyncio: sleeps of 1 ms, 20 ms and 1 s, on processes of
8 threads each, 100 calls at once; and what CPU time a job takes in all processes, the scheduler's among them, which is in
this one. Debian: python3-distributed.

    bench/python/cluster_dask.py [WORKERS]
"""
import sys
import time


def cpu_time():
    import psutil

    here = psutil.Process()
    times = [process.cpu_times() for process in [here, *here.children(recursive=True)]]
    return sum(time.user + time.system for time in times)


def work(number, seconds):
    time.sleep(seconds)
    return number + 1


def measure(client, count, seconds):
    begin = time.monotonic()
    waiting, done = [], 0
    from distributed import as_completed

    waiting = as_completed([client.submit(work, n, seconds, pure=False) for n in range(min(100, count))])
    sent = min(100, count)
    for future in waiting:
        future.result()
        done += 1
        if sent < count:
            waiting.add(client.submit(work, sent, seconds, pure=False))
            sent += 1
    assert done == count
    return time.monotonic() - begin


def main():
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        print("cluster_dask.py: there is no dask.distributed (Debian: python3-distributed)")
        return 0
    for workers in [int(word) for word in sys.argv[1:]] or [1, 2]:
        cluster = LocalCluster(
            n_workers=workers, threads_per_worker=8, processes=True, host="127.0.0.1", dashboard_address=None
        )
        with cluster, Client(cluster) as client:
            measure(client, 100, 0)
            for count, seconds in ((500, 0.001), (500, 0.02), (100, 1)):
                before = cpu_time()
                wall = measure(client, count, seconds)
                used = (cpu_time() - before) / count * 1e6
                print(
                    f"{workers} workers, {count} jobs of {seconds * 1000:g} ms: {count / wall:.0f} jobs a second, "
                    f"CPU a job: {used:.0f} us",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
