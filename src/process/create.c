/* create.c - async_create_subprocess_exec and _shell: options are checked, descriptors, streams and
 * memory are got ready, and then the child is started; nothing can fail after that. */
#include "process.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_PATH "/bin:/usr/bin" /* where there is no PATH, as execvp(3) has it */
#define GRACE 5                      /* seconds */

enum { NAME_SHOWN = 200 }; /* bytes of the program's name in messages */

/* ---- checks ---- */

static int refuse(const char *name, const char *why)
{
    return async__misuse(async__failf(-EINVAL, "cannot run %.*s: %s", NAME_SHOWN, name, why));
}

static int check_descriptors(const async_subprocess_options *options, const char *name)
{
    for (size_t i = 0; i < options->pass_fds_count; i++) {
        int fd = options->pass_fds[i];
        if (fd >= 0 && fd < 3) return refuse(name, "pass_fds has one of 0 to 2");
        if (ASYNC__CALL(fcntl(fd, F_GETFD)) < 0) {
            int code = -errno;
            return async__failf(code, "cannot pass descriptor %d to %.*s: %s", fd, NAME_SHOWN, name,
                                async_strerror(code));
        }
    }
    return 0;
}

static int check(const async_subprocess_options *options, const char *name)
{
    int groups = options->new_session + options->new_process_group + (options->process_group != 0);

    if (groups > 1) return refuse(name, "more than one of new_session and the process groups");
    if (options->process_group < 0) return refuse(name, "a negative process group");
    if (options->terminal && !options->new_session)
        return refuse(name, "terminal is for new_session");
    if (options->grace != options->grace) return refuse(name, "the grace is not a number");
    if (options->pass_fds_count > 0 && !options->pass_fds) return refuse(name, "pass_fds is NULL");
    for (const char *const *entry = options->environment; entry && *entry; entry++)
        if (!strchr(*entry, '=') || **entry == '=')
            return refuse(name, "an entry of the environment is not of the form NAME=value");
    return check_descriptors(options, name);
}

/* ---- what the child is told ---- */

static const char *path_of(const char *const *environment)
{
    for (; *environment; environment++)
        if (strncmp(*environment, "PATH=", 5) == 0) return *environment + 5;
    return DEFAULT_PATH;
}

/* To be freed; NULL: no memory. */
static struct async__child *describe(const char *const *arguments, const char *program,
                                     const async_subprocess_options *options)
{
    const char *const *environment =
        options->environment ? options->environment : (const char *const *)environ;
    static const char *const empty[] = {NULL};
    if (!environment) environment = empty; /* after clearenv(3) */
    /* A name that no file can have is left to execve, for its error. */
    bool plain = *program && !strchr(program, '/') && strlen(program) <= NAME_MAX;
    const char *search = plain ? path_of(environment) : NULL;
    size_t room = search ? strlen(search) + strlen(program) + 2 : 0;

    struct async__child *child = async__alloc(sizeof *child + room);
    if (!child) return NULL;
    memset(child, 0, offsetof(struct async__child, stack));
    child->arguments = arguments;
    child->environment = environment;
    child->path = program;
    child->search = search;
    child->candidate = (char *)(child + 1);
    child->directory = options->directory;
    child->pass = options->pass_fds;
    child->pass_count = options->pass_fds_count;
    child->inherit_fds = options->inherit_fds;
    child->new_session = options->new_session;
    child->terminal = options->terminal;
    child->set_group = options->new_process_group || options->process_group;
    child->group = options->process_group;
    child->set_umask = options->set_umask;
    child->umask = options->umask;
    child->keep_signals = options->keep_signals;
    return child;
}

/* ---- the process ---- */

static async_process *new_process(const char *name, const async_subprocess_options *options)
{
    size_t length = strnlen(name, NAME_SHOWN);
    async_process *process = async__alloc_zeroed(sizeof *process + length + 1);
    if (!process) return NULL;
    memcpy(process->name, name, length);
    process->pidfd = -1;
    process->references = 1;
    process->forks = async__forks;
    process->returncode = ASYNC_RUNNING;
    process->grace = options->grace != 0 ? options->grace : GRACE;
    async_debug_opened(process, "process");
    return process;
}

static int make_streams(async_process *process, struct async__stdio *stdio)
{
    for (int i = 0; i < 3; i++) {
        if (stdio->parent[i] < 0) continue;
        process->streams[i] = async__process_stream(stdio->parent[i]);
        stdio->parent[i] = -1; /* the stream's, or closed */
        if (!process->streams[i]) return async_error_code();
        async_debug_closed(process->streams[i]); /* the process's: debug mode tells of that alone */
    }
    return 0;
}

static int spawn_failed(const async_process *process, const struct async__child *child, int step,
                        int code)
{
    static const char *const whats[] = {
        [ASYNC__STEP_DESCRIPTORS] = "its descriptors",
        [ASYNC__STEP_SESSION] = "a new session",
        [ASYNC__STEP_GROUP] = "its process group",
        [ASYNC__STEP_TERMINAL] = "its terminal",
    };
    const char *name = process->name, *text = async_strerror(code);

    if (step == ASYNC__STEP_DIRECTORY)
        return async__failf(code, "cannot run %s in directory %s: %s", name, child->directory,
                            text);
    if (step != ASYNC__STEP_EXEC)
        return async__failf(code, "cannot run %s: %s: %s", name, whats[step], text);
    if (child->search && code == -ENOENT)
        return async__failf(code, "cannot run %s: it is not in PATH (%s): %s", name, child->search,
                            text);
    return async__failf(code, "cannot run %s: %s", name, text);
}

static int start(async_process *process, struct async__child *child,
                 const async_subprocess_options *options)
{
    struct async__stdio stdio;
    int step;

    int code = async__stdio_open(&stdio, options, process->name);
    if (code < 0) return code;
    code = make_streams(process, &stdio);
    if (code == 0) {
        memcpy(child->stdio, stdio.child, sizeof child->stdio);
        code = async__spawn(child, &process->pid, &process->pidfd, &step);
        if (code < 0) spawn_failed(process, child, step, code);
    }
    async__stdio_close(&stdio);
    return code;
}

static async_process *create(const char *const *arguments, const char *program,
                             const async_subprocess_options *options)
{
    async_process *process = new_process(program, options);
    struct async__child *child = process ? describe(arguments, program, options) : NULL;
    int code = child ? start(process, child, options)
                     : async__failf(-ENOMEM, "cannot run %.*s: out of memory", NAME_SHOWN, program);

    async__free(child);
    if (code == 0) return process;
    if (process) async__process_free(process);
    return NULL;
}

async_process *async__create_subprocess_exec(const char *const *arguments,
                                             const async_subprocess_options *given,
                                             size_t options_size)
{
    async_subprocess_options options;

    if (async__options(&options, sizeof options, given, options_size) < 0) {
        async__misuse(
            async__failf(-EINVAL, "subprocess: an option that this library does not know"));
        return NULL;
    }
    if (!arguments || !arguments[0]) {
        async__misuse(async__failf(-EINVAL, "subprocess: there is no program: no arguments"));
        return NULL;
    }
    const char *program = options.executable ? options.executable : arguments[0];
    if (async__checkpoint() < 0 || check(&options, program) < 0) return NULL;
    return create(arguments, program, &options);
}

async_process *async__create_subprocess_shell(const char *command,
                                              const async_subprocess_options *options,
                                              size_t options_size)
{
    if (!command) {
        async__misuse(async__failf(-EINVAL, "subprocess: the command is NULL"));
        return NULL;
    }
    const char *const arguments[] = {"/bin/sh", "-c", command, NULL};
    return async__create_subprocess_exec(arguments, options, options_size);
}
