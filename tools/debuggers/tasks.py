# What gdb.py.in and lldb.py.in know of the tasks of a program. This text is put into each of them, behind LAYOUT_H, the text of
# the header, and what it takes from the debugger: read(address, size), which raises Failure; note_addresses(), those of the
# sections .note.casyncio; evaluate(text), the value of an expression as an int, or None.

STATES = ["ready", "running", "parked"]
MOST_TASKS = 1 << 24  # a core may lie


# ---- memory ----


def word(address):
    return struct.unpack("<Q", read(address, 8))[0]


def half(address):
    return struct.unpack("<I", read(address, 4))[0]


def signed(address):
    return struct.unpack("<q", read(address, 8))[0]


def text(address):
    if not address:
        return None
    found = b""
    while len(found) < 256 and b"\0" not in found:
        try:
            found += read(address + len(found), 16)
        except Failure:
            break
    found = found.split(b"\0")[0].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in found)


# ---- the layout ----


class Fields:
    """A struct of layout.h as it is in the process: its members, and structs in it, as attributes."""

    SIZES = {"uint32_t": ("I", 4), "uint64_t": ("Q", 8), "char": ("s", 1)}

    def __init__(self, name, address):
        source = re.sub(r"/\*.*?\*/", " ", LAYOUT_H, flags=re.S)
        source = re.sub(r"^\s*#.*$", " ", source, flags=re.M)
        body = re.search(r"struct %s \{(.*?)^\};" % name, source, re.S | re.M).group(1)
        self.at_ = 0
        self.take(re.findall(r"struct \w+|\w+|[{}\[\];,]", body), address)
        self.at_ = (self.at_ + 7) // 8 * 8 if "uint64_t" in body else self.at_

    def take(self, tokens, address):
        while tokens:
            kind = tokens.pop(0)
            if kind == "struct async__layout_head":
                kind = "head"
                tokens.pop(0), tokens.pop(0)
                self.magic = read(address, 16)
                self.version, self.told = struct.unpack("<II", read(address + 16, 8))
                self.at_ = 24
            elif kind == "struct" and tokens[0] == "{":
                self.inner(tokens, address)
            else:
                self.members(kind, tokens, address)

    def inner(self, tokens, address):
        end = tokens.index("}")
        part = Fields.__new__(Fields)
        part.at_ = self.at_
        part.take(tokens[1:end], address)
        self.at_ = part.at_
        setattr(self, tokens[end + 1], part)
        del tokens[:end + 3]

    def members(self, kind, tokens, address):
        letter, size = self.SIZES[kind]
        while True:
            name, count = tokens.pop(0), 1
            if tokens[0] == "[":
                count = int(tokens[1])
                del tokens[:3]
            self.at_ = (self.at_ + size - 1) // size * size
            values = struct.unpack(f"<{count}{letter}", read(address + self.at_, count * size))
            setattr(self, name, values if len(values) > 1 else values[0])
            self.at_ += count * size
            if tokens.pop(0) == ";":
                return


def constant(name):
    return re.search(r"#define %s (\S.*)" % name, LAYOUT_H).group(1)


def layout_at(kind, address, magic):
    if read(address, 16) != constant(magic).strip('"').encode() + b"\0":
        raise Failure("what should describe this program's casyncio does not")
    version = half(address + 16)
    if version != int(constant("ASYNC__LAYOUT_VERSION")):
        raise Failure(f"this program's casyncio has layout {version}, and this script is for layout "
                      f"{constant('ASYNC__LAYOUT_VERSION')}: source that of the same version")
    layout = Fields(kind, address)
    if layout.at_ != layout.told:
        raise Failure(f"the description of this program's casyncio has {layout.told} bytes, and not {layout.at_}")
    return layout


def layout_addresses():
    """Of each file with the library in it: by its note, which is there where symbols are not."""
    for start in note_addresses():
        at = start + 12 + 12  # behind the note's head and its name
        try:
            address = at + signed(at)
            if read(address, 15) == constant("ASYNC__LAYOUT_MAGIC").strip('"').encode():
                yield address
        except Failure:
            continue  # as a file has it, and not where it is mapped


# ---- tasks ----


class Task:
    def __init__(self, tasks, address):
        layout = tasks.layout.task
        self.tasks, self.address = tasks, address
        self.number = word(address + layout.number)
        self.state = read(address + layout.state, 1)[0]
        self.sp = word(address + layout.sp)
        self.top = address + layout.room
        self.base = ((self.top - 1) | tasks.page_mask) + 1 - tasks.usable
        self.name = text(word(address + layout.name))
        self.coroutine = text(word(address + layout.coroutine_name))
        self.wait = word(address + layout.wait) if self.state == 2 else 0

    def label(self):
        label = self.name or f"Task-{self.number}"
        return f"{label} ({self.coroutine})" if self.coroutine else label

    def awaiter(self):
        layout = self.tasks.layout.task
        done, owner = word(self.address + layout.done), word(self.address + layout.owner)
        for mark in self.tasks.layout.marks:
            if mark and done and word(mark) == done:
                return word(owner + signed(mark + 8))
        return 0

    def waits(self):
        if self.state != 2:
            return STATES[self.state] if self.state < 2 else "done"
        layout = self.tasks.layout
        if not self.wait or word(self.wait + layout.wait.task) != self.address:
            return "parked"
        what = text(word(self.wait + layout.wait.what)) or "?"
        fd = struct.unpack("<i", read(self.wait + layout.wait.fd, 4))[0]
        line = f"waits: {what}" + (f", descriptor {fd}" if fd >= 0 else "")
        awaited = word(self.wait + layout.wait.awaited)
        if awaited:
            line += f" of {Task(self.tasks, awaited).label()}"
        holder = self.holder() if what == "lock" else 0
        return line + (f", held by {Task(self.tasks, holder).label()}" if holder else "")

    def holder(self):
        layout = self.tasks.layout
        in_list = word(self.wait + layout.waiter.list)
        before = word(self.wait + layout.waiter.previous)
        link = before + layout.waiter.next if before else in_list + layout.waiter.first
        return word(in_list + layout.lock_owner) if in_list and word(link) == self.wait else 0

class Tasks:
    """Those of one loop."""

    def __init__(self, loop, client):
        self.loop = loop
        self.layout = layout_at("async__task_layout", word(client), "ASYNC__TASK_LAYOUT_MAGIC")
        pool = word(client + self.layout.tasks.stacks)
        self.page_mask = word(pool + self.layout.stacks.page_mask)
        self.usable = word(pool + self.layout.stacks.usable)
        self.client = client

    def __iter__(self):
        at, seen = word(self.client + self.layout.tasks.first), 0
        while at and seen < MOST_TASKS:
            yield Task(self, at)
            at, seen = word(at + self.layout.task.next), seen + 1


def loops():
    """(loop, its tasks or None) of all loops of the process."""
    found = False
    for address in layout_addresses():
        found = True
        layout = layout_at("async__layout", address, "ASYNC__LAYOUT_MAGIC")
        at, seen = word(layout.first), 0
        while at and seen < 1024:
            client = word(at + layout.loop.client)
            yield at, Tasks(at, client) if client else None
            at, seen = word(at + layout.loop.next), seen + 1
    if not found:
        raise Failure("no casyncio is in this program, or it does not run yet")


def all_tasks():
    for _, tasks in loops():
        yield from tasks or ()


def task_at(address):
    """The task that lies there, or None."""
    for _, tasks in loops():
        if tasks:
            layout = tasks.layout.task
            try:
                if word(address + layout.tasks) == tasks.client and read(address + layout.state, 1)[0] < 3:
                    return Task(tasks, address)
            except Failure:
                pass
    return None


def find_tasks(wanted):
    if not wanted:
        raise Failure("which task? (its number, its name, or the address of its handle; or all)")
    if wanted == "all":
        found = list(all_tasks())
        if not found:
            raise Failure("there are no tasks")
        return found
    name = re.sub(r"^Task-(?=\d+$)", "", wanted)
    found = [task for task in all_tasks() if wanted == task.name or name == str(task.number)]
    if not found:
        address = evaluate(wanted)
        found = [task_at(address)] if address and task_at(address) else []
    if not found:
        raise Failure(f"there is no task {wanted}")
    return found


def task_lines():
    """All loops and their tasks, as `casyncio tasks` shows them."""
    for number, (loop, tasks) in enumerate(loops(), 1):
        yield f"loop {number} at {loop:#x}" + (":" if tasks else ": no tasks of C")
        for task in tasks or ():
            awaiter = task.awaiter()
            by = f" <- {Task(tasks, awaiter).label()}" if awaiter else ""
            yield f"  {task.number:5} {task.address:#x} {task.label()}: {task.waits()}{by}"


# ---- registers of a stack that does not run ----

# What async__switch leaves from the stack pointer on (switch_*.S); how many bytes; the names of the stack pointer and the place.
SAVED = {
    "x86-64": (["r15", "r14", "r13", "r12", "rbx", "rbp", "rip"], 56, "rsp", "rip"),
    "aarch64": (["x29", "x30", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28"], 160, "sp", "pc"),
}


def saved_registers(sp, architecture):
    """(the values by their names, the place) where a stack was left at sp."""
    names, size, sp_name, pc_name = SAVED[architecture]
    values = {name: word(sp + 8 * i) for i, name in enumerate(names)}
    values[sp_name] = sp + size
    values.setdefault(pc_name, values.get("x30"))
    return values, values[pc_name]


# ---- values ----


def task_of(address):
    """The label of the task with that handle, or its address."""
    if not address:
        return "none"
    try:
        task = task_at(address)
    except Failure:
        task = None
    return task.label() if task else f"{address:#x}"


def labels(first):
    """The tasks in a list of waiters that begins there."""
    found = []
    try:
        layout = next((tasks.layout for _, tasks in loops() if tasks), None)
        while first and layout and len(found) < 1000:
            found.append(task_of(word(first + layout.wait.task)))
            first = word(first + layout.waiter.next)
    except Failure:
        pass
    return found


def named(waiting, verb):
    return f"{len(waiting)} {verb}: {', '.join(waiting[:8])}{', ...' if len(waiting) > 8 else ''}"


def waiters(number):
    """Those of a value's `waiters`, as a text with a comma before it."""
    waiting = labels(number("waiters.first"))
    return f", {named(waiting, 'wait')}" if waiting else ""


def of_task(number):
    task = task_at(number(""))
    return f"{task.label()}: {task.waits()}" if task else "a task that has ended"


# What is said of a value. number(PATH) is a member of it as an int, and number("") its address.
PRINTERS = {
    "async_task": of_task,
    "async_lock": lambda n: ("held by " + task_of(n("owner")) if n("owner") else "free") + waiters(n),
    "async_event": lambda n: ("set" if n("set") else "not set") + waiters(n),
    "async_condition": lambda n: "condition" + waiters(n),
    "async_semaphore": lambda n: f"{n('value')} free" + waiters(n),
    "async_barrier": lambda n: f"{n('count')} of {n('parties')} are there" + (", broken" if n("broken") else ""),
    "async_rwlock": lambda n: ("written by " + task_of(n("writer")) if n("writer") else f"{n('readers')} read") + waiters(n),
    "async_once": lambda n: (f"done: {n('result')}" if n("done") else "run by " + task_of(n("runner"))) + waiters(n),
    "async_latch": lambda n: f"{n('left')} left" + waiters(n),
    "async_future": lambda n: (f"done: {n('code')}" if n("done") else "pending") + waiters(n),
}
