"""The process under test: one loop, one row; started, and told what to do, by bench.py.

It says `ready`, with the address if it is a server; then for each count that it reads it does the
row's operation that many times, and says the CPU time of one in ns. A server only serves: its
client (load.c) reads the clock of this process.
"""
import argparse
import asyncio
import gc
import importlib
import os
import signal
import sys
import time

LIFETIME = 1800     # s; a benchmark that fails leaves nothing behind
LEFT_OUT = 77       # exit status: this loop or row cannot be had here


def make_loop(name, directory):
    """The loop, and the module of its own classes."""
    if name == 'stock':
        return asyncio.SelectorEventLoop(), asyncio
    if directory:
        sys.path.insert(0, directory)
    module = importlib.import_module('uvloop' if name == 'uvloop' else 'casyncio')
    return module.new_event_loop(), asyncio if name == 'uvloop' else module


def serve(loop, start, names, options):
    address = loop.run_until_complete(start(loop, names, options))
    print('ready', address, flush=True)
    loop.run_forever()


def work(loop, row, names, *address):
    print('ready', flush=True)
    for line in sys.stdin:
        count = int(line)
        gc.collect()
        gc.freeze()                     # what is alive between rounds is not looked at in them
        start = time.process_time_ns()
        figure = loop.run_until_complete(row.run(loop, names, count, *address))
        if figure is None:
            figure = time.process_time_ns() - start
        print(figure / count, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('loop')
    parser.add_argument('row')
    parser.add_argument('--directory')
    parser.add_argument('--core', type=int)
    parser.add_argument('--certificate')
    parser.add_argument('--key')
    parser.add_argument('--peer', action='store_true', help="be the server that the row's client has")
    parser.add_argument('--address', help="that server's")
    options = parser.parse_args()

    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    signal.alarm(LIFETIME)
    import rows
    row = next(row for row in rows.ROWS if row.name == options.row)
    options.size = row.size
    try:
        loop, own = make_loop(options.loop, options.directory)
        asyncio.set_event_loop(loop)
        names = own if row.own else asyncio
        if options.peer:
            serve(loop, row.peer, names, options)
        elif row.kind:
            serve(loop, row.run, names, options)
        elif row.peer:
            work(loop, row, names, options.address)
        else:
            work(loop, row, names)
    except ModuleNotFoundError as error:
        print(error, file=sys.stderr)
        sys.exit(LEFT_OUT)


if __name__ == '__main__':
    main()
