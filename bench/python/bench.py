#!/usr/bin/env python3
"""CPU time of an operation on the standard loop, uvloop and casyncio, side by side.

    bench.py                            every row, every loop that can be had here; some minutes
    bench.py --quick echo-protocol      rows whose names begin so, fewer rounds
    bench.py --list                     the rows
    bench.py --profile echo-tls-64      where casyncio's time goes (--loops: another's), by perf
    bench.py --instructions future      instructions of an operation, by valgrind: always the same
    bench.py --loops stock casyncio old=DIR     any builds of casyncio beside each other

Each loop is a process of its own on one processor, asked by turns (A B C A B C ...), so that what
else the machine does hits all alike; clients are on the other processor. What is measured is CPU
time, user and system, of the process under test. Shown is the median of all rounds; a ratio is
the median of the rounds' ratios.
"""
import argparse
import collections
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile

import processes
import rows
import where

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
RIVALS = 'stock', 'uvloop'
QUICK = 5           # --quick: the fifth of the operations in a round


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('rows', nargs='*', help='rows whose names begin so; all')
    parser.add_argument('--python', default=sys.executable, help='the interpreter under test')
    parser.add_argument('--loops', nargs='+', default=['stock', 'uvloop', 'casyncio'],
                        help='stock, uvloop, casyncio, or NAME=DIRECTORY of another build of it')
    parser.add_argument('--casyncio', metavar='DIRECTORY',
                        help='where casyncio is; build/python-X.Y if that is there')
    parser.add_argument('--rounds', type=int, default=7, help='of each start (7)')
    parser.add_argument('--starts', type=int, default=2, help='processes of each loop and row (2)')
    parser.add_argument('--connections', type=int, default=8, help='to a server (8)')
    parser.add_argument('--quick', action='store_true', help='1 start, 3 rounds, short ones')
    parser.add_argument('--json', metavar='FILE', help='all rounds, ns')
    parser.add_argument('--list', action='store_true', help='the rows')
    parser.add_argument('--profile', action='store_true', help='perf: where the time goes')
    parser.add_argument('--instructions', action='store_true', help='callgrind: instructions')
    options = parser.parse_args()
    if options.quick:
        options.starts, options.rounds = 1, 3
    return options


def chosen(names):
    found = [row for row in rows.ROWS
             if not names or any(row.name.startswith(name) for name in names)]
    if not found:
        sys.exit('bench.py: no such row; --list shows them')
    exact = [row for row in found if row.name in names]
    return exact if len(exact) == len(names) > 0 else found


def available(options):
    """The loops that can be had, as name -> directory; and why the others cannot."""
    found, missing = {}, []
    for name in options.loops:
        name, _, directory = name.partition('=')
        if name == 'casyncio' and not directory:
            code = 'import sys; print("%d.%d" % sys.version_info[:2])'
            version = processes.ask(options.python, code)
            built = os.path.join(TOP, 'build', 'python-' + version)
            directory = options.casyncio or (built if os.path.isdir(built) else '')
        module = {'stock': 'asyncio', 'uvloop': 'uvloop'}.get(name, 'casyncio')
        try:
            processes.ask(options.python, f'from {module} import new_event_loop', directory)
        except RuntimeError as error:
            missing.append((name, error))
        else:
            found[name] = directory and os.path.abspath(directory)
    return found, missing


# ---- one row ----

def measure(row, loops, tools, options):
    """name of a loop -> its rounds in ns; and what went wrong, as (loop, why)."""
    times = {name: [] for name in loops}
    troubles = []
    count = max(1, row.count // QUICK) if options.quick and not row.fresh else row.count
    starts, rounds = options.starts, options.rounds
    if row.fresh:
        starts, rounds = options.rounds, 1
    for _ in range(starts):
        with contextlib.ExitStack() as stack:
            subjects = {}
            for name, directory in loops.items():
                try:
                    subject = processes.Subject(name, directory, row, tools, options)
                    subjects[name] = stack.enter_context(subject)
                    if not row.fresh:   # imports, caches, first connections
                        subject.measure(max(1, count // QUICK))
                except processes.Trouble as error:
                    troubles.append((name, str(error)))
                    subjects.pop(name, None)
            for _ in range(rounds):
                for name in list(subjects):
                    try:
                        times[name].append(subjects[name].measure(count))
                    except processes.Trouble as error:
                        troubles.append((name, str(error)))
                        del subjects[name]
    return times, dict.fromkeys(troubles)


def ratio(ours, theirs):
    """The median of the rounds' ratios; None if a side has failed."""
    if not ours or len(ours) != len(theirs):
        return None
    return statistics.median(x / y for x, y in zip(ours, theirs))


# ---- the table ----

def heading(loops):
    others = [name for name in loops if name != 'casyncio'] if 'casyncio' in loops else []
    print(f'{"CPU us of an operation":42}' + ''.join(f'{name:>11}' for name in loops) +
          ''.join(f'{"/ " + name:>11}' for name in others), flush=True)
    return others


def line(row, times, others):
    """Prints the row; returns whether casyncio is ahead of all that it is compared with."""
    text = f'{row.title:42}'
    for rounds in times.values():
        text += f'{statistics.median(rounds) / row.scale:11.3f}' if rounds else f'{"-":>11}'
    ratios = {name: ratio(times.get('casyncio'), times[name]) for name in others}
    for value in ratios.values():
        text += f'{"-" if value is None else format(value, ".2f"):>11}'
    ahead = all(value is not None and value < 1 for name, value in ratios.items()
                if name in RIVALS)
    print(text + ('' if ahead else '   not ahead'), flush=True)
    return ahead


def table(selected, loops, missing, tools, options):
    others = heading(loops)
    results, behind, troubles = {}, [], collections.defaultdict(list)
    for row in selected:
        if row.kind in ('tls', 'wss') and not tools.tls:
            troubles['TLS', 'left out, no openssl or no headers of it'].append(row.name)
            continue
        times, trouble = measure(row, loops, tools, options)
        for reason in trouble:
            troubles[reason].append(row.name)
        if not any(times.values()):
            continue
        results[row.name] = times
        if not line(row, times, others):
            behind.append(row.name)
    if any(row.own for row in selected):
        print("* with casyncio's own class on casyncio's loop, asyncio's on the others")
    for name, reason in missing:
        print(f'{name}: left out: {reason}')
    for (name, reason), names in troubles.items():
        print(f'{name}: {reason}: {", ".join(names)}')
    if set(others) & set(RIVALS):
        print(f'{len(results) - len(behind)} of {len(results)} rows ahead' +
              (f'; not: {", ".join(behind)}' if behind else ''))
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(results, file, indent=1)


def main():
    options = parse()
    selected = chosen(options.rows)
    if options.list:
        for row in selected:
            print(f'{row.name:24}{row.title}')
        return
    loops, missing = available(options)
    if loops.keys() <= set(RIVALS):
        selected = [row for row in selected if not row.own]
    directory = tempfile.mkdtemp(prefix='bench-python-')
    try:
        tools = processes.Tools(directory)
        if options.profile or options.instructions:
            where.show(selected, loops, tools, options)
        else:
            table(selected, loops, missing, tools, options)
    finally:
        shutil.rmtree(directory)


if __name__ == '__main__':
    main()
