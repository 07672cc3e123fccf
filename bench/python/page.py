#!/usr/bin/env python3
"""The table of docs/benchmarks.md, from what bench.py --json has written.

    page.py 3.11=FILE[,FILE...] 3.14=FILE[,FILE...]

For each version: casyncio's figure, and the ratios to the standard loop's and to uvloop's. A row that is
in several files is taken from the last. Ratios that are not below 1 are bold, and told of at the end.
"""
import json
import statistics
import sys

import bench
import rows

MARGIN = 0.995      # what is shown as 1.00 is not ahead


def load(files):
    found = {}
    for file in files.split(','):
        with open(file) as opened:
            found.update(json.load(opened))
    return found


def cells(row, times):
    """Casyncio's figure and two ratios; and whether all of these are below 1."""
    ours = times.get('casyncio')
    if not ours:
        return ['', '', ''], True
    figure = statistics.median(ours) / row.scale
    ratios = [bench.ratio(ours, times.get(name)) for name in bench.RIVALS]
    text = ['' if value is None else f'{value:.2f}' if value < MARGIN else f'**{value:.2f}**'
            for value in ratios]
    return [f'{figure:.0f}' if figure >= 100 else f'{figure:.3g}', *text], '**' not in ''.join(text)


def main():
    versions = dict(argument.split('=') for argument in sys.argv[1:])
    results = {version: load(files) for version, files in versions.items()}
    behind = {version: [] for version in versions}
    print('| |' + ''.join(f' {version} | / standard | / uvloop |' for version in versions))
    print('| --- |' + ' --- |' * 3 * len(versions))
    for row in rows.ROWS:
        line = [row.title]
        for version, found in results.items():
            shown, ahead = cells(row, found.get(row.name, {}))
            line += shown
            if not ahead:
                behind[version].append(row.name)
        if any(line[1:]):
            print('| ' + ' | '.join(line) + ' |')
    for version, names in behind.items():
        count = len(results[version])
        print(f'{version}: {count - len(names)} of {count} rows ahead of both; not: '
              f'{", ".join(names)}', file=sys.stderr)


if __name__ == '__main__':
    main()
