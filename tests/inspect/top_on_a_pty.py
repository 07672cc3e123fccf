"""casyncio top on a pseudo-terminal: what is on the screen, what keys do, and that the terminal is afterwards what it was.
Nothing here depends on time: what is to come is waited for."""
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

casyncio, watched = sys.argv[1:]
LIMIT = 60  # seconds, after which what was to come will not
# ThreadSanitizer's runtime takes every signal first, keeps it for a moment that suits it, and loses one in some hundred.
with open(casyncio, "rb") as program:
    SIGNALS_ARE_LOST = b"__tsan_init" in program.read()


class Terminal:
    def __init__(self, *arguments, rows=30, columns=120):
        self.master, slave = pty.openpty()
        self.size(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.all = b""
        self.at = 0
        self.news, out = os.pipe()
        self.leader = os.fork()
        if self.leader == 0:
            try:
                self.lead(slave, out, arguments)
            finally:
                os._exit(1)
        os.close(out)
        self.pid = struct.unpack("i", os.read(self.news, 4))[0]

    def lead(self, slave, out, arguments):
        """What a shell does: a session, and the program as a job in its foreground. Its process and its status go to `out`."""
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        ready, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(ready, 1)
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            for fd in 0, 1, 2:
                os.dup2(slave, fd)
            os.environ.update(TERM="xterm", LC_ALL="C.UTF-8")
            os.closerange(3, 100)
            os.execv(casyncio, [casyncio, "top", "--interval", "0.2", *arguments, watched])
        os.setpgid(pid, pid)
        os.tcsetpgrp(slave, pid)
        os.write(out, struct.pack("i", pid))
        os.write(go, b"x")
        os.write(out, struct.pack("i", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
        os._exit(0)

    def state(self):
        with open(f"/proc/{self.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]

    def size(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.all += data
        return bool(data)

    def screen(self):
        """The last picture that is whole."""
        pictures = re.findall(rb"\x1b\[H(.*?)\x1b\[J", self.all[self.at:], re.S)
        return re.sub(rb"\x1b\[K", b"", pictures[-1]).decode().split("\r\n") if pictures else []

    def until(self, what, test):
        end = time.monotonic() + LIMIT
        while not test(self.screen()):
            assert time.monotonic() < end, f"{what}: {self.screen()} {self.all[-2000:]!r}"
            self.read(1)
        return self.screen()

    def type(self, keys):
        self.at = len(self.all)
        os.write(self.master, keys.encode())

    def ended(self):
        return bool(select.select([self.news], [], [], 0)[0])

    def signal(self, number, done):
        """Until it has done what it is to do; Ctrl-C is typed."""
        end = time.monotonic() + LIMIT
        while not done():
            assert time.monotonic() < end, f"signal {number} has no effect: {self.state()}"
            with contextlib.suppress(ProcessLookupError):
                self.type("\x03") if number == signal.SIGINT else os.kill(self.pid, number)
            again = time.monotonic() + (1 if SIGNALS_ARE_LOST else LIMIT)
            while not done() and time.monotonic() < again:
                self.read(0.05)

    def end(self):
        """The exit status, or the signal that ended it as a negative number."""
        deadline = time.monotonic() + LIMIT
        while not self.ended():
            self.read(0.05)
            assert time.monotonic() < deadline, f"it does not end: {self.state()}"
        status = struct.unpack("i", os.read(self.news, 4))[0]
        os.waitpid(self.leader, 0)
        while self.read(0.05):
            pass
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is not what it was"
        assert self.all.count(b"\x1b[?1049h") == self.all.count(b"\x1b[?1049l") > 0, "the screen is not left"
        assert self.all.rindex(b"\x1b[?1049l") > self.all.rindex(b"\x1b[?1049h")
        os.close(self.slave)
        os.close(self.master)
        os.close(self.news)
        return status


def rows_of(screen):
    heads = [i for i, line in enumerate(screen) if line.lstrip().startswith("ID")]
    return screen[heads[0] + 1:-1] if heads else []


def has(text):
    return lambda screen: any(text in line for line in screen)


# Keys: the order, a filter, help, standing still, the end.
top = Terminal()
screen = top.until("the first picture", lambda screen: any(" callbacks/s" in line and "- call" not in line for line in screen))
assert len(rows_of(screen)) == 5 and "by best" in screen[-1], screen
assert not termios.tcgetattr(top.slave)[3] & termios.ICANON
top.type("i")
first = rows_of(top.until("i", has("by order")))
assert [int(row.split()[0]) for row in first] == [1, 2, 3, 4, 5], first
top.type("r")
last = rows_of(top.until("r", has("reversed")))
assert [int(row.split()[0]) for row in last] == [5, 4, 3, 2, 1], last
top.type("r/READERx\x7f")
top.until("/", has("filter: READER_"))
top.type("\r")
filtered = rows_of(top.until("enter", has("with 'READER'")))
assert len(filtered) == 1 and "reader" in filtered[0], filtered
top.type("\x1b")
assert len(rows_of(top.until("escape", has("5 tasks")))) == 5
top.type("h")
top.until("h", has("by how long they wait"))
top.type("x")
top.until("back", has("5 tasks"))
top.type("p")
top.until("p", has("stands still"))
top.type("p")
top.until("p again", lambda screen: screen and "stands still" not in screen[-1])

# Sizes: narrow lines are cut, and few rows hold few tasks, through which the keys move.
top.type("i")
top.size(15, 40)
# A picture that was begun with the old size, and cut to the new one, has the column still.
narrow = top.until(
    "narrow",
    lambda screen: screen and max(map(len, screen)) <= 40 and not any("COROUTINE" in line for line in screen),
)
assert len(narrow) <= 15, narrow
assert int(rows_of(narrow)[0].split()[0]) == 1
top.type("\x1b[B")
top.until("down", lambda screen: rows_of(screen) and rows_of(screen)[0].split()[0] == "2")
top.type("\x1b[F")
top.until("end", lambda screen: rows_of(screen) and rows_of(screen)[-1].split()[0] == "5")
top.type("\x1b[H")
top.until("home", lambda screen: rows_of(screen) and rows_of(screen)[0].split()[0] == "1")
for rows, columns in (1, 1), (3, 10), (200, 300):
    top.at = len(top.all)
    top.size(rows, columns)
    top.until(f"{rows} x {columns}", lambda screen: screen and len(screen) <= rows and max(map(len, screen)) <= columns)
top.type("q")
assert top.end() == 0

# Signals: the terminal is put back, and they have the effect that they always have.
for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV, signal.SIGABRT:
    top = Terminal()
    top.until("a picture", has("5 tasks"))
    top.signal(number, top.ended)
    assert top.end() == -number, number

# Stopped, the terminal is the shell's; and afterwards it is taken over again.
top = Terminal()
top.until("a picture", has("5 tasks"))
top.signal(signal.SIGTSTP, lambda: top.state() == "T")
while top.read(0.05):
    pass
assert termios.tcgetattr(top.slave) == top.before
top.at = len(top.all)
os.kill(top.pid, signal.SIGCONT)
top.until("going on", has("5 tasks"))
top.type("q")
assert top.end() == 0

# --count ends it by itself; a terminal that can do nothing gets lines.
top = Terminal("--count", "2")
assert top.end() == 0
# The watched process goes away.
top = Terminal()
top.until("a picture", has("5 tasks"))
os.kill(int(watched), signal.SIGKILL)
assert top.end() == 1 and b"casyncio: " in top.all
print("on a terminal: as it should be")
