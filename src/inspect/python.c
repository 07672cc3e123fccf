/* python.c - see python.h.
 *
 * Where Python's objects lie is known to Python. Since 3.14 an interpreter can read the tasks of another
 * process of its own version (_remote_debugging, which `python -m asyncio ps` is made with), from outside as
 * this program does; so the process's own interpreter is run to do that. It is run only for a process of
 * the same user, since it is that process's program, and isolated from the environment's modules. */
#include "python.h"

#include <errno.h>
#include <fcntl.h>
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

bool is_python(const struct snapshot *snapshot)
{
    const struct image *image = snapshot->image;

    for (size_t i = 0; i < image->module_count; i++) {
        const char *slash = strrchr(image->modules[i].path, '/');
        if (image->modules[i].layout && strncmp(slash ? slash + 1 : "", "_casyncio.", 10) == 0)
            return true;
    }
    return false;
}

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
    const char *why = snapshot->image->pid ? find_interpreter(snapshot->image->pid, path)
                                           : "of a core they cannot be told";

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
