"""The same work on process pools of Python: `main.py PEER WORK WORKERS AMOUNT IN_FLIGHT` prints one number.

The amount is milliseconds, or jobs where a queue is filled. benches/peers/run starts it.
"""

import os
import sys
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Event
from pathlib import Path
from statistics import median

PAYLOAD = 64
MIB = 1 << 20
CHUNK = 64
"""Jobs that are sent as one where a peer offers that."""
CHUNKED = 4096
"""Jobs that one call of map gets."""


def echo(payload):
    return payload


def hold():
    """Keeps the worker busy until the gate opens."""
    gate.wait()


def keep(given):
    global gate
    gate = given


# The peers, each as a start and what its jobs are called by.


class Executor:
    def __init__(self, workers):
        self.gate = Event()
        self.pool = ProcessPoolExecutor(workers, initializer=keep, initargs=[self.gate])

    def submit(self, function, *arguments):
        return self.pool.submit(function, *arguments)

    def map(self, payloads):
        return self.pool.map(echo, payloads, chunksize=CHUNK)

    def stop(self):
        self.pool.shutdown(cancel_futures=True)


class Pebble:
    def __init__(self, workers):
        import pebble

        self.gate = Event()
        self.pool = pebble.ProcessPool(max_workers=workers, initializer=keep, initargs=[self.gate])

    def submit(self, function, *arguments):
        return self.pool.schedule(function, args=arguments)

    def map(self, payloads):
        return self.pool.map(echo, payloads, chunksize=CHUNK).result()

    def stop(self):
        self.pool.stop()
        self.pool.join()


PEERS = {"ProcessPoolExecutor": Executor, "pebble": Pebble}


# The works.


def sequential(pool, amount, _):
    trips(pool, amount / 2, PAYLOAD)
    return median(trips(pool, amount, PAYLOAD)) * 1e6


def rate(pool, amount, in_flight):
    jobs(pool, amount / 2, in_flight)
    return jobs(pool, amount, in_flight)


def chunks(pool, amount, _):
    mapped(pool, amount / 2)
    return mapped(pool, amount)


def echoes(pool, amount, _):
    trips(pool, amount / 2, MIB)
    taken = trips(pool, amount, MIB)
    return MIB * len(taken) / 1e9 / sum(taken)


def resident_bytes(pool, depth, _):
    """By how much memory grows for each job behind a busy worker, its future kept."""
    pool.submit(echo, b"").result()
    pool.submit(hold)
    before = resident()
    waiting = [pool.submit(echo, payload()) for _ in range(depth)]
    grown = resident() - before
    for future in waiting:
        future.cancel()
    pool.gate.set()
    return grown / depth


WORKS = {"sequential": sequential, "rate": rate, "chunks": chunks, "echo": echoes, "bytes": resident_bytes}


def trips(pool, milliseconds, size):
    """The seconds of each. What came back is sent again."""
    begun = time.perf_counter()
    taken, data = [], bytes(size)
    while not taken or time.perf_counter() - begun < milliseconds / 1e3:
        sent = time.perf_counter()
        data = pool.submit(echo, data).result()
        taken.append(time.perf_counter() - sent)
        if len(data) != size:
            raise RuntimeError(f"{len(data)} bytes came back of {size}")
    return taken


def jobs(pool, milliseconds, in_flight):
    """Jobs a second, so many on their way; the oldest is waited for."""
    begun = time.perf_counter()
    waiting, count = deque(), 0
    while time.perf_counter() - begun < milliseconds / 1e3:
        waiting.append(pool.submit(echo, payload()))
        if len(waiting) == in_flight:
            waiting.popleft().result()
            count += 1
    for future in waiting:
        future.result()
        count += 1
    return count / (time.perf_counter() - begun)


def mapped(pool, milliseconds):
    """Jobs a second, handed in many at a time and sent in chunks."""
    begun = time.perf_counter()
    count = 0
    while time.perf_counter() - begun < milliseconds / 1e3:
        count += sum(1 for _ in pool.map([payload() for _ in range(CHUNKED)]))
    return count / (time.perf_counter() - begun)


def payload():
    """Bytes of its own each time, as each job has its own payload."""
    return bytes(PAYLOAD)


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main():
    peer, work, workers, amount, in_flight = sys.argv[1:]
    pool = PEERS[peer](int(workers))
    try:
        print(WORKS[work](pool, int(amount), int(in_flight)))
    finally:
        pool.stop()


if __name__ == "__main__":
    main()
