/* python.c - see python.h.
 *
 * Where Python's objects lie is known to Python. Since 3.14 an interpreter can read the tasks of another
 * process of its own version (_remote_debugging, which `python -m asyncio ps` is made with), from outside as
 * this program does; so the process's own interpreter is run to do that. It is run only for a process of
 * the same user, since it is that process's program, and isolated from the environment's modules.
 *
 * Before 3.14 the extension describes them (python_tasks.c). */
#include "python.h"

#include "python_tasks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT = 1 << 28 }; /* bytes, of an interpreter that does not end */

/* Ends with a line that begins with "!" where it cannot tell. A frame's line is in `lineno` in 3.14, and in
 * `location` since. */
static const char script[] =
    "import json, sys\n"
    "def no(why):\n"
    "    print('!' + ' '.join(str(why).split())[:300]); sys.exit(0)\n"
    "pid, what, with_frames = int(sys.argv[1]), sys.argv[2], sys.argv[3] == '1'\n"
    "version = '.'.join(map(str, sys.version_info[:2]))\n"
    "if sys.version_info < (3, 14):\n"
    "    no(f'Python {version} cannot tell of another process; 3.14 and later can')\n"
    "try:\n"
    "    from _remote_debugging import RemoteUnwinder\n"
    "    found = RemoteUnwinder(pid).get_all_awaited_by()\n"
    "except Exception as error:\n"
    "    no(error)\n"
    "def line(frame):\n"
    "    if hasattr(frame, 'lineno'): return frame.lineno\n"
    "    return getattr(frame.location, 'lineno', None)\n"
    "tasks = {}\n"
    "for thread in found:\n"
    "    for task in thread.awaited_by:\n"
    "        frames = [f for part in task.coroutine_stack for f in part.call_stack]\n"
    "        tasks[task.task_id] = dict(id=hex(task.task_id), name=task.task_name, "
    "thread=thread.thread_id,\n"
    "            awaited_by=[part.task_name for part in task.awaited_by],\n"
    "            frames=[dict(function=f.funcname, file=f.filename, line=line(f)) for f in "
    "frames])\n"
    "def clean(text): return ''.join(c if c.isprintable() else '?' for c in str(text))\n"
    "def place(f):\n"
    "    name = f['file'].rpartition('/')[2]\n"
    "    return clean(f\"{f['function']} ({name}:{f['line']})\" if name not in ('', '~') else "
    "f['function'])\n"
    "def label(task):\n"
    "    outer = task['frames'][-1]['function'] if task['frames'] else None\n"
    "    return clean(f\"{task['name']} ({outer})\" if outer else task['name'])\n"
    "if what == 'json':\n"
    "    for task in tasks.values():\n"
    "        task['awaited_by'] = [hex(other) for other in task['awaited_by'] if other in tasks]\n"
    "    print(json.dumps(list(tasks.values())))\n"
    "elif what == 'ps':\n"
    "    print(f\"{'TASK':>14} {'NAME':<16} {'COROUTINE':<20} {'AWAITED BY':<16} AT\")\n"
    "    for key, task in tasks.items():\n"
    "        by = ', '.join(clean(tasks[o]['name']) for o in task['awaited_by'] if o in tasks) or "
    "'-'\n"
    "        coroutine = clean(task['frames'][-1]['function']) if task['frames'] else '-'\n"
    "        at = place(task['frames'][0]) if task['frames'] else '-'\n"
    "        print(f\"{key:>14x} {clean(task['name']):<16} {coroutine:<20} {by:<16} {at}\")\n"
    "else:\n"
    "    children, shown = {}, set()\n"
    "    for key, task in tasks.items():\n"
    "        for other in task['awaited_by'][:1]:\n"
    "            children.setdefault(other, []).append(key)\n"
    "    def show(root):\n"
    "        stack = [(root, 0)]\n"
    "        while stack:\n"
    "            key, depth = stack.pop()\n"
    "            if key in shown: continue\n"
    "            shown.add(key)\n"
    "            print('  ' * depth + label(tasks[key]))\n"
    "            if with_frames:\n"
    "                for f in tasks[key]['frames']: print('  ' * depth + '  at ' + place(f))\n"
    "            stack += [(child, depth + 1) for child in reversed(children.get(key, []))]\n"
    "    for key, task in tasks.items():\n"
    "        if not any(other in tasks for other in task['awaited_by']): show(key)\n"
    "    for key in tasks: show(key)\n";

/* The address of the description, or 0. */
static uint64_t find_layout(const struct snapshot *snapshot)
{
    const struct image *image = snapshot->image;

    for (size_t i = 0; i < image->module_count; i++)
        if (image->modules[i].python) return image->modules[i].python;
    return 0;
}

bool is_python(const struct snapshot *snapshot) { return find_layout(snapshot) != 0; }

/* ---- tasks that are read here ---- */

static void print_place(FILE *out, const struct python_frame *frame)
{
    const char *slash = frame->file ? strrchr(frame->file, '/') : NULL;

    fputs(frame->function ? frame->function : "?", out);
    if (!frame->file) return;
    fprintf(out, " (%s", slash ? slash + 1 : frame->file);
    if (frame->line) fprintf(out, ":%d", frame->line);
    fputc(')', out);
}

static const char *coroutine_of(const struct python_task *task)
{
    const char *outer = task->frame_count > 0 ? task->frames[task->frame_count - 1].function : NULL;
    return outer ? outer : "-";
}

static void print_rows(FILE *out, const struct python_tasks *tasks)
{
    fprintf(out, "%14s %-16s %-20s %-16s %s\n", "TASK", "NAME", "COROUTINE", "AWAITED BY", "AT");
    for (size_t i = 0; i < tasks->count; i++) {
        const struct python_task *task = &tasks->tasks[i];
        fprintf(out, "%14" PRIx64 " %-16s %-20s %-16s ", task->address, task->name,
                coroutine_of(task),
                task->awaiter == SIZE_MAX ? "-" : tasks->tasks[task->awaiter].name);
        if (task->running) fputs("runs: ", out);
        if (task->frame_count > 0)
            print_place(out, &task->frames[0]);
        else
            fputc('-', out);
        fputc('\n', out);
    }
}

static void print_task(FILE *out, const struct python_task *task, int indent, bool frames)
{
    fprintf(out, "%*s%s", indent, "", task->name);
    if (task->frame_count > 0) fprintf(out, " (%s)", coroutine_of(task));
    fputs(task->running ? ": runs\n" : "\n", out);
    for (size_t i = 0; frames && i < task->frame_count; i++) {
        fprintf(out, "%*s  at ", indent, "");
        print_place(out, &task->frames[i]);
        fputc('\n', out);
    }
}

/* The tree is walked without recursion: to the first child, else to the next sibling, else up. */
static void print_tree(FILE *out, const struct python_tasks *tasks, bool frames)
{
    size_t count = tasks->count;
    size_t *first = must(malloc((count + 1) * sizeof *first)),
           *next = must(malloc((count + 1) * sizeof *next));
    bool *shown = must(calloc(count + 1, sizeof *shown));

    for (size_t i = 0; i <= count; i++)
        first[i] = next[i] = SIZE_MAX;
    for (size_t i = count; i-- > 0;) {
        size_t parent = tasks->tasks[i].awaiter;
        if (parent == SIZE_MAX) continue;
        next[i] = first[parent];
        first[parent] = i;
    }
    for (int rounds = 0; rounds < 2; rounds++) { /* the second: of what waits in a circle */
        for (size_t i = 0; i < count; i++) {
            if (rounds == 0 && tasks->tasks[i].awaiter != SIZE_MAX) continue;
            int depth = 0;
            for (size_t at = i; at != SIZE_MAX && !shown[at];) {
                shown[at] = true;
                print_task(out, &tasks->tasks[at], 2 * depth, frames);
                if (first[at] != SIZE_MAX && !shown[first[at]]) {
                    at = first[at];
                    depth++;
                    continue;
                }
                while (at != i && (next[at] == SIZE_MAX || shown[next[at]])) {
                    at = tasks->tasks[at].awaiter;
                    depth--;
                }
                at = at == i ? SIZE_MAX : next[at];
            }
        }
    }
    free(shown);
    free(next);
    free(first);
}

static void print_json(FILE *out, const struct python_tasks *tasks)
{
    fputc('[', out);
    for (size_t i = 0; i < tasks->count; i++) {
        const struct python_task *task = &tasks->tasks[i];
        fprintf(out, "%s{\"id\": \"%#" PRIx64 "\"", i > 0 ? ", " : "", task->address);
        json_member(out, "name", task->name);
        fprintf(out, ", \"running\": %s, \"awaited_by\": [", task->running ? "true" : "false");
        if (task->awaiter != SIZE_MAX)
            fprintf(out, "\"%#" PRIx64 "\"", tasks->tasks[task->awaiter].address);
        fputs("], \"frames\": [", out);
        for (size_t j = 0; j < task->frame_count; j++) {
            fputs(j > 0 ? ", {\"function\": " : "{\"function\": ", out);
            json_text(out, task->frames[j].function);
            json_member(out, "file", task->frames[j].file);
            if (task->frames[j].line)
                fprintf(out, ", \"line\": %d}", task->frames[j].line);
            else
                fputs(", \"line\": null}", out);
        }
        fputs("]}", out);
    }
    fputc(']', out);
}

static void print_tasks(FILE *out, const struct python_tasks *tasks, const char *what, bool frames)
{
    if (strcmp(what, "json") == 0)
        print_json(out, tasks);
    else if (strcmp(what, "ps") == 0)
        print_rows(out, tasks);
    else
        print_tree(out, tasks, frames);
}

/* ---- tasks that the process's interpreter tells ---- */

/* The interpreter that the process runs, in *path. NULL, or why it is not to be run. */
static const char *find_interpreter(int pid, char path[PATH_MAX])
{
    char name[64];
    struct stat process, running, file;

    snprintf(name, sizeof name, "/proc/%d", pid);
    if (stat(name, &process) < 0) return "the process has ended";
    if (process.st_uid != geteuid())
        return "they are told by the process's own interpreter, which is not run for another "
               "user's";
    snprintf(name, sizeof name, "/proc/%d/exe", pid);
    ssize_t length = readlink(name, path, PATH_MAX - 1);
    if (length <= 0 || stat(name, &running) < 0) return "its interpreter cannot be found";
    path[length] = 0;
    const char *slash = strrchr(path, '/');
    if (!slash || strncmp(slash + 1, "python", 6) != 0)
        return "its program is no interpreter that could tell them";
    if (stat(path, &file) < 0 || file.st_dev != running.st_dev || file.st_ino != running.st_ino)
        return "its interpreter has been replaced, or is in another root directory";
    return NULL;
}

static char *read_all(int fd)
{
    size_t size = 0, capacity = 0;
    char *text = NULL;

    while (size < OUTPUT) {
        if (size + 1 >= capacity) {
            capacity = capacity ? 2 * capacity : 4096;
            text = must(realloc(text, capacity));
        }
        ssize_t got = read(fd, text + size, capacity - size - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        size += (size_t)got;
    }
    text[size] = 0;
    return text;
}

/* What it writes; to be freed. NULL: it did not run, or failed. */
static char *run(char *const arguments[])
{
    posix_spawn_file_actions_t actions;
    int ends[2], status = -1;
    pid_t child;

    if (pipe2(ends, O_CLOEXEC) < 0) return NULL;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int error = posix_spawn(&child, arguments[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char *text = error ? NULL : read_all(ends[0]);
    close(ends[0]);
    while (!error && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status == 0) return text;
    free(text);
    return NULL;
}

void show_python(FILE *out, const struct snapshot *snapshot, const char *what, bool frames)
{
    char path[PATH_MAX], pid[16];
    bool json = strcmp(what, "json") == 0;
    struct python_tasks tasks;
    enum python_known known = python_tasks_read(snapshot->image, find_layout(snapshot), &tasks);
    const char *why = NULL;

    if (known == PYTHON_TASKS_READ) print_tasks(out, &tasks, what, frames);
    python_tasks_free(&tasks);
    if (known == PYTHON_TASKS_READ) return;
    if (known == PYTHON_TASKS_UNKNOWN)
        why =
            "the extension describes them as this program does not know: take casyncio of the same "
            "version";
    else if (snapshot->image->pid)
        why = find_interpreter(snapshot->image->pid, path);
    else
        why = "of a core they cannot be told, from Python 3.14 on";

    snprintf(pid, sizeof pid, "%d", snapshot->image->pid);
    char *const arguments[] = {path,
                               (char *)"-I",
                               (char *)"-c",
                               (char *)script,
                               pid,
                               (char *)what,
                               (char *)(frames ? "1" : "0"),
                               NULL};
    char *text = why ? NULL : run(arguments);
    if (!why && !text) why = "its interpreter could not be run";
    if (text && text[0] == '!') {
        text[strcspn(text, "\n")] = 0;
        why = text + 1;
    }
    if (!why)
        fwrite(text, 1, strlen(text) - (json && *text ? 1 : 0), out);
    else if (json)
        fputs("null", out);
    else
        fprintf(out, "Python's tasks are not known: %s\n", why);
    free(text);
}
