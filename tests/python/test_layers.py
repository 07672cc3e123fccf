"""The layers of the extension's sources: each folder uses some of the others, and each file of a folder
what lies below it there.

The sources say what includes what, and the objects of the build (nm) what calls what. A file that is in
no layer, and a layer without its file, are errors, so the lists stay true.
"""

import re
import shutil
import subprocess
import unittest
from pathlib import Path

import casyncio

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ROOT / "python" / "src"
OBJECTS = Path(casyncio.__file__).parent.parent / ".objects"

# What a folder may use beside itself. The engine is src/base and src/loop, by its public headers.
USES = {
    "base": set(),
    "sync": {"base"},
    "streams": {"base"},
    "loop": {"base", "engine"},
    "tls": {"base", "streams"},
    "transport": {"base", "engine", "loop", "streams", "tls"},
    "": {"base", "loop", "streams", "sync", "tls", "transport"},  # module.c
}

# The files of a folder, the lowest first: each uses those of the lines before its own. Those of a line
# that ends with "mutual" use each other, too. A name without an ending is a .c with its .h.
LAYERS = {
    "base": """
        face.h
        errors.c
        help.c
        arguments.c transport_base.c coroutine""",
    "loop": """
        socket.h
        loop.h
        report.c
        state.c
        socket.c address.c
        handle.h clock.h
        handle_kind.h handle.c clock.c mutual
        handle_type.c descriptors
        loop_type.h
        loop.c
        loop_watchdog.c
        tasks_layout
        loop_schedule.c loop_descriptors.c loop_run.c loop_tasks.c loop_sock.c loop_names.c""",
    "sync": """
        mixins
        queue.h
        queue_items.c
        lock.c event.c semaphore.c condition.c queue.c timeout.c""",
    "streams": """
        stream.h
        stream_base.c stream_buffer.c
        stream_read.c stream_reader.c mutual
        stream_flow.c
        stream_protocol.c stream_writer.c mutual""",
    "tls": """
        names
        records
        connection.h
        failure.c
        timers.c memory.c
        sending.c
        receiving.c
        shutdown.c handshake.c
        connection.c
        tls_transport
        tls""",
    "transport": """
        endpoint.h
        clients.c
        endpoint.c
        endpoint_type.c
        transport.h datagram.h
        extra.c
        transport_read.c transport_write.c datagram_send.c
        transport.c datagram.c
        loop_accept.c""",
    "": """
        module.c""",
}


def ranks(layers):
    """{(folder, file): (line, whether those of the line may use each other)}"""
    found = {}
    for folder, text in layers.items():
        for number, line in enumerate(text.strip().splitlines()):
            mutual = line.split()[-1] == "mutual"
            for name in line.split()[: -1 if mutual else None]:
                for file in [name] if "." in name else [name + ".c", name + ".h"]:
                    found[folder, file] = number, mutual
    return found


def upward(uses, ranked, allowed=USES):
    """Which of the uses (user, used, what) go to something that is not below, as lines of text. A file
    is (folder, name); the engine's are ("engine", name)."""
    bad = []
    for user, used, what in sorted(uses):
        if user[0] != used[0]:
            fine = used[0] in allowed[user[0]]
        else:
            (own, mutual), (other, _) = ranked[user], ranked[used]
            its_header = used[1] == user[1].replace(".c", ".h")
            fine = user == used or other < own or (other == own and (mutual or its_header))
        if not fine:
            bad.append(f"{'/'.join(user)} uses {what} of {'/'.join(used)}")
    return bad


def place(path):
    folder = path.parent.relative_to(SOURCES)
    return "" if folder == Path() else folder.as_posix(), path.name


def sources():
    return [path for path in SOURCES.rglob("*.[ch]")]


def includes(path):
    """What the file includes of ours."""
    for name in re.findall(r'^#include "(.*)"', path.read_text(), re.MULTILINE):
        yield place((path.parent / name).resolve())


def symbols(objects):
    """{object: names that it defines for others}, and the same of those that it takes from others."""
    defined, taken = {name: set() for name in objects}, {name: set() for name in objects}
    nm = subprocess.run(["nm", "-A", *objects], check=True, capture_output=True, text=True)
    for line in nm.stdout.splitlines():
        path, _, rest = line.rpartition(".o:")
        *_, kind, name = rest.split()
        if kind == "U":
            taken[path + ".o"].add(name)
        elif kind in "TDBRC":
            defined[path + ".o"].add(name)
    return defined, taken


class Includes(unittest.TestCase):
    def test_every_file_has_a_layer(self):
        self.assertEqual({place(path) for path in sources()}, set(ranks(LAYERS)))

    def test_includes_go_down(self):
        uses = [(place(path), used, "it") for path in sources() for used in includes(path)]
        self.assertGreater(len(uses), 50)
        self.assertEqual(upward(uses, ranks(LAYERS)), [])

    def test_the_engine_is_known_by_its_public_headers(self):
        for path in sources():
            for name in re.findall(r"^#include <(casyncio/.*)>", path.read_text(), re.MULTILINE):
                with self.subTest(path=path.name, name=name):
                    self.assertIn("engine", USES[place(path)[0]])
                    self.assertTrue((ROOT / "include" / name).exists())


@unittest.skipUnless(OBJECTS.is_dir(), "an installed package has no objects")
@unittest.skipUnless(shutil.which("nm"), "there is no nm")
class Calls(unittest.TestCase):
    def test_calls_go_down(self):
        objects = {}
        for path in [*SOURCES.rglob("*.c"), *(ROOT / "src").glob("*/*.c")]:
            name = OBJECTS / (str(path.relative_to(ROOT)).replace("/", "-") + ".o")
            if name.exists():  # if not, it is another part of the engine
                own = SOURCES in path.parents
                objects[str(name)] = place(path) if own else ("engine", path.name)
        own = {file for file in objects.values() if file[0] != "engine"}
        self.assertEqual(own, {file for file in ranks(LAYERS) if file[1].endswith(".c")})
        defined, taken = symbols(objects)
        owner = {name: objects[path] for path in objects for name in defined[path]}
        uses = [(file, owner[name], name) for path, file in objects.items() if file in own
                for name in taken[path] if name in owner]
        self.assertGreater(len(uses), 300)
        self.assertEqual(upward(uses, ranks(LAYERS)), [])
        # Of the engine's internal names only those that a macro of its headers has.
        headers = " ".join(path.read_text() for path in (ROOT / "include").rglob("*.h"))
        for file, used, name in uses:
            if used[0] == "engine" and name.startswith("async__"):
                self.assertIn(name, headers, f"{file} uses it")


class TheCheckItself(unittest.TestCase):
    """It finds what it is for."""

    ranked = ranks({"a": "x.h\n x.c\n y.c z.c mutual\n w", "b": "v.c"})

    def found(self, user, used):
        return upward([(user, used, "f")], self.ranked, {"a": {"b"}, "b": set()})

    def test_up(self):
        self.assertEqual(self.found(("a", "x.c"), ("a", "w.h")), ["a/x.c uses f of a/w.h"])
        self.assertEqual(self.found(("a", "x.h"), ("a", "x.c")), ["a/x.h uses f of a/x.c"])
        self.assertEqual(self.found(("b", "v.c"), ("a", "x.h")), ["b/v.c uses f of a/x.h"])
        self.assertEqual(self.found(("b", "v.c"), ("engine", "fd.c")), ["b/v.c uses f of engine/fd.c"])

    def test_beside(self):
        self.assertEqual(self.found(("a", "w.h"), ("a", "w.c")), ["a/w.h uses f of a/w.c"])
        self.assertEqual(self.found(("a", "w.c"), ("a", "w.h")), [])
        self.assertEqual(self.found(("a", "y.c"), ("a", "z.c")), [])

    def test_down(self):
        self.assertEqual(self.found(("a", "w.c"), ("a", "x.h")), [])
        self.assertEqual(self.found(("a", "w.c"), ("b", "v.c")), [])


if __name__ == "__main__":
    unittest.main()
