/* The fault campaign: workers are killed and stopped at random moments, the server is killed and started anew,
 * connections are slow, and are cut, every job is asked for by two callers. None may be lost, and the effect of each
 * key, which the job has guarded by it, happens once.
 *
 *     CASYNCIO_CAMPAIGN_JOBS=10000    so many, where it is 1000 otherwise
 *     CASYNCIO_CAMPAIGN_SEED=7        the order of what happens
 * ctest: labels=slow timeout=600 serial */
#include "nats_server.h"

#include <sys/stat.h>

enum { WORKERS = 3, CALLERS = 2, AT_ONCE = 64, CONCURRENCY = 8 };

struct in {
    int index;
    char dir[80];
};

struct out {
    int value;
};

/* One write, so that lines of several processes do not mix. */
static void record(const char *dir, const char *file, const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) abort();
    close(fd);
}

/* An effect that is to happen once: the key is what makes it so. */
static int effect(const struct in *in, struct out *out)
{
    char path[200], line[100];
    int code = async_sleep(0.001 * (in->index % 31));

    if (code < 0) return code;
    snprintf(path, sizeof path, "%s/effect/%s", in->dir, async_cluster_job_key());
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    snprintf(line, sizeof line, "%s %d %u\n", fd >= 0 ? "done" : "known", in->index,
             async_cluster_job_attempt());
    if (fd >= 0) close(fd);
    record(in->dir, "log", line);
    out->value = in->index * 3 + 1;
    return 0;
}
ASYNC_JOB(effect, struct in, struct out, .ack_wait = 1, .max_deliver = 1000, .keep = 3600,
          .window = 3600)

static const async_cluster_options often = {
    .reconnect_wait = 0.02, .reconnect_wait_max = 0.2, .ping_interval = 0.5};

/* ---- the programs that the test is made of: it starts itself with other arguments ---- */

/* It ends with an error when the server is not there as it starts: an init would start it again, too. */
static int worker_program(const char *url)
{
    const async_cluster_worker_options options = {.concurrency = CONCURRENCY, .cluster = &often};

    while (async_cluster_work(url, &options, &effect_job) != 0)
        nap(0.05);
    return 0;
}

struct caller {
    const char *url, *dir;
    int count, next;
    async_cluster *cluster;
};

static int call_many(void *argument)
{
    struct caller *self = argument;

    while (self->next < self->count) {
        struct in in = {.index = self->next++};
        struct out out = {0};
        char key[40];
        snprintf(in.dir, sizeof in.dir, "%s", self->dir);
        snprintf(key, sizeof key, "job %d", in.index);
        int code = async_cluster_call(self->cluster, effect, &in, &out, .key = key,
                                      .unserved_timeout = 300);
        if (code < 0) return code;
        if (out.value != in.index * 3 + 1) return async_raise(-EBADMSG, "a wrong result");
    }
    return 0;
}

static int caller_main(void *argument)
{
    struct caller *self = argument;

    async_cluster *first;
    while (!(first = async_cluster_connect(self->url, &often)))
        async_sleep(0.05);
    async_with (async_cluster *, cluster, first, async_cluster_close) {
        self->cluster = cluster;
        async_with_group (group)
            for (int i = 0; i < AT_ONCE; i++)
                async_group_create_task(group, call_many, self);
    }
    return async_block_error();
}

static int caller_program(const char *url, const char *dir, int count)
{
    struct caller self = {.url = url, .dir = dir, .count = count};
    int code = async_run(caller_main, &self);
    if (code < 0)
        fprintf(stderr, "caller: %s: %s\n", async_error_name(code), async_run_error_message());
    return code < 0;
}

static int relay_to;

/* What a network of 10 ms does, and loss as a user of TCP sees it: one piece in a hundred comes 0.2 s later, which
 * is when it is sent again. Kernels that can do this themselves (netem) are few. */
struct one_way {
    async_stream *from, *to;
};

static int one_way(struct one_way *self)
{
    static unsigned seed = 1;
    char buffer[8192];
    ssize_t size;

    while ((size = async_stream_read(self->from, buffer, sizeof buffer)) > 0) {
        int code = async_sleep(rand_r(&seed) % 100 == 0 ? 0.2 : 0.01);
        if (code == 0) code = async_stream_write(self->to, buffer, (size_t)size);
        if (code < 0) return code;
    }
    return size < 0 ? (int)size : -ECONNRESET; /* the other way ends as well */
}

static int pass(async_stream *client)
{
    async_with_stream(server, async_open_connection("127.0.0.1", relay_to)) async_with_group (group)
    {
        async_group_spawn(group, one_way, client, server);
        async_group_spawn(group, one_way, server, client);
    }
    int code = async_block_error();
    return code == -ECONNRESET ? 0 : code;
}

static int relay_main(void *argument)
{
    async_server *relay = async_start_server("127.0.0.1", *(int *)argument, NULL);
    if (!relay) return async_error_code();
    printf("%d\n", async_server_port(relay));
    fflush(stdout);
    return async_server_serve(relay, pass);
}

/* ---- what starts and ends them ---- */

static pid_t start(int output, const char *const *arguments)
{
    pid_t parent = getpid(), pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        if (output >= 0) dup2(output, 1);
        execv("/proc/self/exe", (char *const *)arguments);
        _exit(127);
    }
    return pid;
}

static void end(pid_t *pid, int signal_number)
{
    if (*pid <= 0) return;
    kill(*pid, signal_number);
    kill(*pid, SIGCONT);
    waitpid(*pid, NULL, 0);
    *pid = 0;
}

struct campaign {
    struct nats_server server;
    char dir[64], relay_url[64], relay_port[16], server_port[16], count_text[16];
    pid_t workers[WORKERS], callers[CALLERS], relay;
    unsigned seed;
    int count;
    struct {
        int killed, stopped, servers, cuts;
    } did;
};

static unsigned draw(struct campaign *self, unsigned below)
{
    return (unsigned)rand_r(&self->seed) % below;
}

/* The first worker and the first caller are behind the relay. */
static const char *url_of(const struct campaign *self, int number)
{
    return number == 0 ? self->relay_url : self->server.url;
}

static void start_worker(struct campaign *self, int number)
{
    const char *const arguments[] = {"test", "worker", url_of(self, number), NULL};
    self->workers[number] = start(-1, arguments);
}

static void start_relay(struct campaign *self)
{
    const char *const arguments[] = {"test", "relay", self->server_port, self->relay_port, NULL};
    int ends[2];
    char text[16] = "";

    assert_int_equal(pipe(ends), 0);
    self->relay = start(ends[1], arguments);
    close(ends[1]);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    close(ends[0]);
    snprintf(self->relay_port, sizeof self->relay_port, "%d", atoi(text));
    snprintf(self->relay_url, sizeof self->relay_url, "nats://127.0.0.1:%d", atoi(text));
}

static void something_happens(struct campaign *self)
{
    unsigned what = draw(self, 20);
    int number = (int)draw(self, WORKERS);

    if (what < 9) {
        end(&self->workers[number], SIGKILL);
        start_worker(self, number);
        self->did.killed++;
    } else if (what < 14) { /* sometimes for longer than ack_wait */
        kill(self->workers[number], SIGSTOP);
        nap(0.1 * (1 + draw(self, 16)));
        kill(self->workers[number], SIGCONT);
        self->did.stopped++;
    } else if (what < 18) {
        end(&self->relay, SIGKILL);
        start_relay(self);
        self->did.cuts++;
    } else {
        nats_kill(&self->server, SIGKILL);
        nap(0.05 * draw(self, 10));
        nats_restart(&self->server);
        self->did.servers++;
    }
}

static bool callers_run(struct campaign *self)
{
    bool any = false;

    for (int i = 0; i < CALLERS; i++) {
        int status = 0;
        if (self->callers[i] == 0) continue;
        if (waitpid(self->callers[i], &status, WNOHANG) == 0) {
            any = true;
        } else {
            assert_int_equal(status, 0); /* all its calls had the right result */
            self->callers[i] = 0;
        }
    }
    return any;
}

static int count_files(const char *dir)
{
    int count = 0;
    DIR *list = opendir(dir);
    assert_non_null(list);
    for (struct dirent *entry; (entry = readdir(list));)
        count += entry->d_name[0] != '.';
    closedir(list);
    return count;
}

/* Each index was done once; how many were run again, and how many were given to several workers. */
static void count_effects(struct campaign *self, int *again, int *redelivered)
{
    char path[96], word[16];
    int index;
    unsigned attempt;
    int *done = calloc((size_t)self->count, sizeof *done);

    *again = *redelivered = 0;
    snprintf(path, sizeof path, "%s/log", self->dir);
    FILE *log = fopen(path, "r");
    assert_non_null(log);
    while (fscanf(log, "%15s %d %u", word, &index, &attempt) == 3) {
        assert_in_range(index, 0, self->count - 1);
        if (word[0] == 'd')
            done[index]++;
        else
            ++*again;
        *redelivered += attempt > 1;
    }
    fclose(log);
    int lost = 0;
    for (int i = 0; i < self->count; i++) {
        assert_true(done[i] <= 1);
        lost += done[i] == 0;
    }
    /* One whose worker was killed between the effect and the line about it. */
    assert_true(lost <= self->did.killed * CONCURRENCY);
    free(done);
}

static void test_campaign(void **state)
{
    struct campaign self = {.seed = 1};
    const char *jobs = getenv("CASYNCIO_CAMPAIGN_JOBS"), *seed = getenv("CASYNCIO_CAMPAIGN_SEED");
    char path[96];
    struct timespec begin, finish;
    int again, redelivered;
    (void)state;

    self.count = jobs ? atoi(jobs) : 1000;
    if (seed) self.seed = (unsigned)atoi(seed);
    strcpy(self.dir, "/tmp/casyncio-campaign-XXXXXX");
    assert_non_null(mkdtemp(self.dir));
    snprintf(path, sizeof path, "%s/effect", self.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    nats_start(&self.server);
    snprintf(self.server_port, sizeof self.server_port, "%d", self.server.port);
    snprintf(self.count_text, sizeof self.count_text, "%d", self.count);
    strcpy(self.relay_port, "0");
    start_relay(&self);
    for (int i = 0; i < WORKERS; i++)
        start_worker(&self, i);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < CALLERS; i++) {
        const char *const arguments[] = {"test",   "caller",        url_of(&self, i),
                                         self.dir, self.count_text, NULL};
        self.callers[i] = start(-1, arguments);
    }
    /* Something happens four times at least, however fast the jobs are done. */
    for (int i = 0; callers_run(&self) || i < 4; i++) {
        nap(0.02 * (1 + draw(&self, 30)));
        something_happens(&self);
    }
    clock_gettime(CLOCK_MONOTONIC, &finish);
    for (int i = 0; i < WORKERS; i++)
        end(&self.workers[i], SIGTERM);
    end(&self.relay, SIGKILL);
    nats_stop(&self.server);

    assert_int_equal(count_files(path), self.count); /* none lost, and each key's effect once */
    count_effects(&self, &again, &redelivered);
    print_message(
        "%d jobs of %d callers in %.1f s: %d redelivered, %d effects refused by their key; "
        "%d workers killed, %d stopped, %d servers killed, %d connections cut\n",
        self.count, CALLERS, (double)(finish.tv_sec - begin.tv_sec), redelivered, again,
        self.did.killed, self.did.stopped, self.did.servers, self.did.cuts);
    nftw(self.dir, nats_remove, 16, FTW_DEPTH | FTW_PHYS);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_campaign)};

    if (argc == 3 && strcmp(argv[1], "worker") == 0) return worker_program(argv[2]);
    if (argc == 5 && strcmp(argv[1], "caller") == 0)
        return caller_program(argv[2], argv[3], atoi(argv[4]));
    if (argc == 4 && strcmp(argv[1], "relay") == 0) {
        int port = atoi(argv[3]);
        relay_to = atoi(argv[2]);
        return async_run(relay_main, &port) < 0;
    }
    NATS_SKIP_VALGRIND();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
