"""Holds docs/asyncio-map.md to the truth.

    map.py           checks it
    map.py --fill    first writes a test into each row that has none, and takes what is there by now off the list of what is
                     not there yet: for a row that is new, and after a merge. Read what it has written.

A row is `asyncio's names | ours | tests`. Checked are:

  - each C name in it is declared in a public header, outside of comments, and `struct.member` has that member;
  - a row with names of ours has tests, by the names that ctest has for them (task/await is tests/task/test_await.c), each of
    them exists, and each name of ours is used by one of them;
  - no name of asyncio's is missing: what the newest interpreter here has in asyncio.__all__ and as public methods and
    properties of its classes, and what asyncio_names.txt has besides, for what is newer or has been removed;
  - the rows that say "not yet" are those of not_yet.txt, which are printed.
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(os.environ.get("SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
HERE = ROOT / "tests/docs"
MAP = ROOT / "docs/asyncio-map.md"
NOT_YET = HERE / "not_yet.txt"
OURS = re.compile(r"(?<![\w.])((?:async|ASYNC)_(?!_)\w+)((?:\.\w+)*)")
INTERPRETERS = ["python3.16", "python3.15", "python3.14", "python3.13", "python3.12", "python3.11"]
# A class whose methods the map has under another name: the one that programs write.
WRITTEN = {"AbstractEventLoop": "loop", "BaseEventLoop": "loop", "Server": "Server", "AbstractServer": "Server"}

ASK = r"""
import asyncio, inspect, json, sys
names = [name for name in asyncio.__all__ if not name.startswith("_")]
for name in list(names):
    thing = getattr(asyncio, name, None)
    if inspect.isclass(thing) and thing.__module__.startswith(("asyncio", "_asyncio")):
        above = {member for each in thing.__mro__[1:] for member in vars(each)}
        names += [name + "." + member for member in vars(thing) if not member.startswith("_") and member not in above]
print(json.dumps([sys.version.split()[0], sorted(set(names))]))
"""

Row = collections.namedtuple("Row", "line section cells")
problems = []


def problem(text):
    problems.append(text)


def rows(lines):
    section = ""
    for number, line in enumerate(lines):
        if line.startswith("#"):
            section = line.lstrip("# ")
        if line.startswith("|") and not re.match(r"[|\s-]*$", line):
            cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
            if cells[0] not in ("asyncio", "Python", ""):
                yield Row(number, section, cells)


def without_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)


def words(text):
    return set(re.findall(r"\w+", text))


# ---- ours ----

def declared():
    return words(" ".join(without_comments(path.read_text()) for path in (ROOT / "include").rglob("*.h")
                          if path.name != "guesses.h"))


def names_of(row):
    """C names, and struct members, that a row mentions; `...` and prose do not count."""
    if "import casyncio" in row.section:
        return []
    names = []
    for name, members in OURS.findall(row.cells[1]):
        names += [name] + members.split(".")[1:]
    return names


def tests():
    """ctest's names, and how often each test mentions a word: those of the headers of tests/ that it includes among them."""
    found = {}
    for path in sorted(ROOT.glob("tests/*/test_*")):
        if path.suffix not in (".c", ".sh", ".py"):
            continue
        text = path.read_text()
        own = collections.Counter(re.findall(r"\w+", text))
        for header in re.findall(r'#include "([^"]+)"', text):
            for place in (path.parent / header, ROOT / "tests" / header):
                if place.exists():
                    text += place.read_text()
        if path.parts[-2:] == ("programs", "test_examples.sh"):
            text += " ".join(each.read_text() for each in ROOT.glob("examples/*.c"))
        if path.parts[-2:] == ("docs", "test_docs.sh"):
            text += (ROOT / "docs/guide.md").read_text()
        found[f"{path.parent.name}/{path.stem[5:]}"] = own + collections.Counter(words(text))
    return found


def check_ours(table, known):
    headers = declared()
    for row in table:
        names = names_of(row)
        where = f"{MAP.name}:{row.line + 1}"
        for name in names:
            if name not in headers:
                problem(f"{where}: no public header declares {name}")
        if len(row.cells) < 3:
            if names or "import casyncio" in row.section:
                problem(f"{where}: names no test: {row.cells[0]}")
            continue
        used = set()
        for test in re.findall(r"\w+/\w+", row.cells[2]):
            if test not in known:
                problem(f"{where}: there is no test {test}")
            used |= known.get(test, {}).keys()
        if names and not used:
            problem(f"{where}: names no test: {row.cells[0]}")
        for name in names:
            if used and name not in used:
                problem(f"{where}: none of its tests uses {name}")


# ---- asyncio's ----

def interpreter_names():
    for name in INTERPRETERS + ["python3"]:
        try:
            result = subprocess.run([name, "-c", ASK], capture_output=True, text=True, timeout=60)
        except OSError:
            continue
        if result.returncode == 0:
            return json.loads(result.stdout)
    return ["no interpreter", []]


def listed_names():
    lines = (HERE / "asyncio_names.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def check_asyncio(table):
    version, names = interpreter_names()
    said = [words(row.cells[0]) for row in table]
    missing = set()
    for name in set(names) | set(listed_names()):
        owner, _, member = name.rpartition(".")
        wanted = {member} | ({WRITTEN.get(owner, owner)} if owner else set())
        if not any(wanted <= row for row in said):
            missing.add(name)
    for name in sorted(missing):
        problem(f"{MAP.name} lacks asyncio's {name}")
    print(f"{len(names)} names of Python {version}'s asyncio")


# ---- what is not there yet ----

def not_yet(table):
    return [row.cells[0] for row in table if "not yet" in row.cells[1]]


def allowed():
    return [line for line in NOT_YET.read_text().splitlines() if line and not line.startswith("#")]


def check_not_yet(table):
    rows_there, listed = not_yet(table), allowed()
    for row in rows_there:
        print(f"not yet: {row}")
        if row not in listed:
            problem(f"{MAP.name} says \"not yet\" of {row}, which {NOT_YET.name} does not have")
    for row in listed:
        if row not in rows_there:
            problem(f"{NOT_YET.name} has {row}, which {MAP.name} does not say \"not yet\" of")


# ---- filling in ----

def parts_of(names):
    """The parts of src/ that the names are implemented in, which tests/ has too."""
    found = collections.Counter()
    for path in ROOT.glob("src/*/*.c"):
        text = path.read_text()
        found[path.parent.name] += sum(bool(re.search(rf"^[^ \n/#].*\b{name}\)?\(", text, re.M)) for name in names)
    return {part for part, count in found.items() if count}


def choose(names, known):
    """The fewest tests that use all of the names: of those that use as many, one of the part that implements them, and the
    one that mentions them most often. The documentation's programs count only for what nothing else shows."""
    parts, chosen, left = parts_of(names), [], set(names)
    while left:
        def value(test):
            part, mentions = test.split("/")[0], known[test]
            return (part not in ("docs", "base") and bool(left & mentions.keys()), len(left & mentions.keys()),
                    part in parts, part != "programs", sum(mentions[name] for name in left))
        best = max(known, key=value)
        if not left & known[best].keys():
            break
        chosen.append(best)
        left -= known[best].keys()
    return chosen


def fill(lines, known):
    for row in rows(lines):
        names = names_of(row)
        if len(row.cells) > 2 or not names:
            continue
        used = choose(names, known)
        if used:
            lines[row.line] = lines[row.line].rstrip(" |") + " | " + ", ".join(used) + " |"
    listed = not_yet(list(rows(lines)))
    head = [line for line in NOT_YET.read_text().splitlines() if line.startswith("#")] if NOT_YET.exists() else []
    NOT_YET.write_text("\n".join(head + [row for row in (allowed() if NOT_YET.exists() else []) if row in listed]) + "\n")
    MAP.write_text("\n".join(lines) + "\n")


def main():
    lines = MAP.read_text().splitlines()
    known = tests()
    if sys.argv[1:] == ["--fill"]:
        fill(lines, known)
    table = list(rows(lines))
    check_ours(table, known)
    check_asyncio(table)
    check_not_yet(table)
    print(f"{len(table)} rows")
    for text in problems:
        print("FAILED:", text)
    return bool(problems)


sys.exit(main())
