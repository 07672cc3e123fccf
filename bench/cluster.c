/* cluster.c - jobs over NATS: how many a second, what CPU time each costs caller and worker, beside the bare client
 * library doing the same; and how it grows with workers.
 *
 *     build/bench/cluster [JOBS]
 *
 * It starts a nats-server of its own, whose store is in memory. The limit is written straight onto libnats: jobs
 * are published with an id and their acknowledgements awaited, a worker fetches them by the batch, stores each
 * result, and then acknowledges. Caller and worker are processes of their own, whose CPU time is counted; the server's is
 * a column of its own where workers grow. */
#include <casyncio.h>
#include <casyncio/cluster.h>
#include <nats/nats.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { AT_ONCE = 100, CONCURRENCY = 8, ROUNDS = 5 };

struct data {
    long number, milliseconds;
};

static int work(const struct data *in, struct data *out)
{
    out->number = in->number + 1;
    return in->milliseconds > 0 ? async_sleep((double)in->milliseconds / 1e3) : 0;
}
ASYNC_JOB(work, struct data, struct data, .memory = true)

static char url[64];
static long jobs;

/* ---- ours ---- */

static long milliseconds;

static int our_calls(void)
{
    struct data *in = calloc((size_t)jobs, sizeof *in), *out = calloc((size_t)jobs, sizeof *out);
    if (!in || !out) return -ENOMEM;
    for (long i = 0; i < jobs; i++)
        in[i] = (struct data){i, milliseconds};
    async_with_cluster (cluster, url, NULL) {
        int code = async_cluster_map(cluster, work, in, out, (size_t)jobs, .limit = AT_ONCE);
        if (code < 0) return code;
    }
    for (long i = 0; i < jobs; i++)
        if (out[i].number != i + 1) return async_raise(-EBADMSG, "a wrong result");
    free(in);
    free(out);
    return async_block_error();
}

static int our_caller(void)
{
    int code = async_run(our_calls);
    if (code < 0) fprintf(stderr, "caller: %s\n", async_run_error_message());
    return code < 0;
}

static int our_worker(void)
{
    return async_cluster_work(url, &((async_cluster_worker_options){.concurrency = CONCURRENCY}),
                              &work_job);
}

/* ---- the bare client library ---- */

static void must(natsStatus status, const char *what)
{
    if (status == NATS_OK) return;
    fprintf(stderr, "%s: %s\n", what, nats_GetLastError(NULL));
    exit(1);
}

static natsConnection *connection;
static jsCtx *js;

static void bare_open(void)
{
    must(natsConnection_ConnectTo(&connection, url), "connect");
    must(natsConnection_JetStream(&js, connection, NULL), "JetStream");
}

static void bare_stream(const char *name, const char *subject, jsRetentionPolicy retention)
{
    jsStreamConfig config;
    const char *subjects[] = {subject};
    jsStreamConfig_Init(&config);
    config.Name = name;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Retention = retention;
    config.Storage = js_MemoryStorage;
    must(js_AddStream(NULL, js, &config, NULL, NULL), name);
}

static int bare_caller(void)
{
    natsSubscription *results;
    long sent = 0, got = 0;

    bare_open();
    must(natsConnection_SubscribeSync(&results, connection, "bare.result.>"), "subscribe");
    while (got < jobs) {
        for (; sent < jobs && sent - got < AT_ONCE; sent++) {
            struct data in = {sent, 0};
            jsPubOptions options;
            char id[40];
            jsPubOptions_Init(&options);
            snprintf(id, sizeof id, "%d.%ld", (int)getpid(), sent);
            options.MsgId = id;
            must(js_PublishAsync(js, "bare.run", &in, sizeof in, &options), "publish");
        }
        natsMsg *msg;
        must(natsSubscription_NextMsg(&msg, results, 30000), "result");
        natsMsg_Destroy(msg);
        got++;
    }
    must(js_PublishAsyncComplete(js, NULL), "acknowledgements");
    natsConnection_Destroy(connection);
    return 0;
}

static volatile sig_atomic_t over;
static void on_term(int number) { over = number; }

static int bare_worker(void)
{
    natsSubscription *queue;
    struct sigaction action = {.sa_handler = on_term};

    sigaction(SIGTERM, &action, NULL);
    bare_open();
    bare_stream("BARE_RUN", "bare.run", js_WorkQueuePolicy);
    bare_stream("BARE_DATA", "bare.result.>", js_LimitsPolicy);
    must(js_PullSubscribe(&queue, js, "bare.run", "bare", NULL, NULL, NULL), "pull");
    while (!over) {
        natsMsgList list = {NULL, 0};
        if (natsSubscription_Fetch(&list, queue, CONCURRENCY, 200, NULL) != NATS_OK) continue;
        for (int i = 0; i < list.Count; i++) {
            struct data data;
            char subject[64];
            memcpy(&data, natsMsg_GetData(list.Msgs[i]), sizeof data);
            snprintf(subject, sizeof subject, "bare.result.%ld", data.number++);
            must(js_Publish(NULL, js, subject, &data, sizeof data, NULL, NULL), "result");
            must(natsMsg_Ack(list.Msgs[i], NULL), "acknowledge");
        }
        natsMsgList_Destroy(&list);
    }
    natsConnection_Destroy(connection);
    return 0;
}

/* ---- processes ---- */

static pid_t start(const char *role)
{
    char count[24], time[24];
    snprintf(count, sizeof count, "%ld", jobs);
    snprintf(time, sizeof time, "%ld", milliseconds);
    pid_t pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execl("/proc/self/exe", "cluster", "--role", role, url, count, time, NULL);
    _exit(127);
}

static double cpu_of(pid_t pid)
{
    struct rusage usage;
    int status;
    wait4(pid, &status, 0, &usage);
    if (status != 0) {
        fprintf(stderr, "a process has failed\n");
        exit(1);
    }
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

struct figure {
    double wall, caller, worker, server;
};

static clockid_t server_clock; /* the CPU time of the server */

static double server_cpu(void)
{
    struct timespec time;
    clock_gettime(server_clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct figure measure(const char *caller, const char *worker, int workers)
{
    pid_t pids[16];
    struct figure figure = {0, 0, 0, 0};
    for (int i = 0; i < workers; i++)
        pids[i] = start(worker);
    usleep(700000);
    double begin = now(), used = server_cpu();
    figure.caller = cpu_of(start(caller));
    figure.wall = now() - begin;
    figure.server = server_cpu() - used;
    for (int i = 0; i < workers; i++) {
        kill(pids[i], SIGTERM);
        figure.worker += cpu_of(pids[i]);
    }
    return figure;
}

static double cpu(struct figure figure)
{
    return (figure.caller + figure.worker) / (double)jobs * 1e6;
}

static pid_t start_server(const char *dir)
{
    char command[256];
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", dir,
               "--ports_file_dir", dir, "-l", "/dev/null", NULL);
        _exit(127);
    }
    snprintf(command, sizeof command, "%s/nats-server_%d.ports", dir, (int)pid);
    for (int i = 0; i < 500; i++) {
        char text[512] = "";
        FILE *file = fopen(command, "r");
        if (file && fread(text, 1, sizeof text - 1, file) > 0 && strstr(text, "127.0.0.1:"))
            snprintf(url, sizeof url, "nats://127.0.0.1:%d",
                     atoi(strstr(text, "127.0.0.1:") + strlen("127.0.0.1:")));
        if (file) fclose(file);
        if (url[0]) return pid;
        usleep(20000);
    }
    return -1;
}

static int by_ratio(const void *a, const void *b)
{
    const struct figure *const *left = a, *const *right = b;
    double x = cpu(left[0][0]) / cpu(left[0][1]), y = cpu(right[0][0]) / cpu(right[0][1]);
    return (x > y) - (x < y);
}

static void beside_the_bare_client(void)
{
    static struct figure rounds[ROUNDS][2];
    struct figure *order[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        rounds[i][1] = measure("bare-caller", "bare-worker", 1);
        rounds[i][0] = measure("our-caller", "our-worker", 1);
        order[i] = rounds[i];
    }
    qsort(order, ROUNDS, sizeof *order, by_ratio);
    struct figure *middle = order[ROUNDS / 2];
    printf("%-34s %10s %10s %8s\n", "one worker, jobs of 0 ms", "ours", "libnats", "ratio");
    printf("%-34s %10.0f %10.0f %8.2f\n", "jobs a second", (double)jobs / middle[0].wall,
           (double)jobs / middle[1].wall, middle[1].wall / middle[0].wall);
    printf("%-34s %10.1f %10.1f %8.2f\n", "CPU a job, us", cpu(middle[0]), cpu(middle[1]),
           cpu(middle[0]) / cpu(middle[1]));
    printf("%-34s %10.1f %10.1f\n", "  of the caller", middle[0].caller / (double)jobs * 1e6,
           middle[1].caller / (double)jobs * 1e6);
    printf("%-34s %10.1f %10.1f\n", "  of the worker", middle[0].worker / (double)jobs * 1e6,
           middle[1].worker / (double)jobs * 1e6);
}

static void by_workers(long time, long count)
{
    milliseconds = time;
    jobs = count;
    printf("\n%ld jobs of %ld ms, %d at once in each worker\n", count, time, CONCURRENCY);
    for (int workers = 1; workers <= 8; workers *= 2) {
        struct figure figure = measure("our-caller", "our-worker", workers);
        printf("  %d workers: %8.0f jobs a second, %6.2f s; CPU a job: %5.0f us, and %4.0f of the "
               "server\n",
               workers, (double)jobs / figure.wall, figure.wall, cpu(figure),
               figure.server / (double)jobs * 1e6);
        fflush(stdout);
    }
}

static int role(const char *name)
{
    if (strcmp(name, "our-caller") == 0) return our_caller();
    if (strcmp(name, "our-worker") == 0) return our_worker();
    if (strcmp(name, "bare-caller") == 0) return bare_caller();
    return bare_worker();
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/casyncio-bench-XXXXXX", command[64];

    if (argc == 6 && strcmp(argv[1], "--role") == 0) {
        snprintf(url, sizeof url, "%s", argv[3]);
        jobs = atol(argv[4]);
        milliseconds = atol(argv[5]);
        return role(argv[2]);
    }
    jobs = argc > 1 ? atol(argv[1]) : 10000;
    if (jobs < 1) return 2;
    setenv("PATH", "/usr/sbin:/usr/bin:/bin:/usr/local/bin", 1);
    if (access("/usr/sbin/nats-server", X_OK) < 0 && access("/usr/bin/nats-server", X_OK) < 0) {
        puts("cluster: there is no nats-server (Debian: nats-server)");
        return 0;
    }
    pid_t server = mkdtemp(dir) ? start_server(dir) : -1;
    if (server < 0 || clock_getcpuclockid(server, &server_clock) != 0) return 1;
    beside_the_bare_client();
    by_workers(1, 10000);
    by_workers(20, 2000);
    by_workers(1000, 100);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) != 0;
}
