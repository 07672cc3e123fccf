/* casyncio-jobs - the queues of a cluster: what waits, what runs, what is dead. `casyncio jobs` runs it as well.
 *
 *     casyncio-jobs [--url URL] [--watch [SECONDS]]             all queues
 *     casyncio-jobs [--url URL] dead QUEUE                      its dead jobs
 *     casyncio-jobs [--url URL] requeue QUEUE [NUMBER ...]      dead jobs are tried again; all without a number
 *
 * The URL may also be in $NATS_URL, else it is nats://127.0.0.1:4222. Credentials are in it (nats://user:password@host,
 * nats://token@host), or, as a file, in $NATS_CREDS. Exit status: 0; 1: an error; 2: usage. */
#include <casyncio.h>
#include <casyncio/cluster.h>
#include <err.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUEUES_MAX = 1000 };

static const char *url;
static double watch; /* seconds; 0: once */
static char **words;
static int word_count;

static void print_age(double seconds)
{
    if (seconds <= 0)
        printf(" %9s", "-");
    else if (seconds < 100)
        printf(" %8.1fs", seconds);
    else if (seconds < 6000)
        printf(" %8.1fm", seconds / 60);
    else
        printf(" %8.1fh", seconds / 3600);
}

static int show_queues(async_cluster *cluster)
{
    async_cluster_queue *queues = calloc(QUEUES_MAX, sizeof *queues);
    if (!queues) return async_raise(-ENOMEM, "no memory for the queues");
    ssize_t count = async_cluster_queues(cluster, queues, QUEUES_MAX);
    if (count >= 0)
        printf("%-24s %9s %9s %9s %11s %9s %9s\n", "queue", "waiting", "in flight", "oldest",
               "redelivered", "dead", "results");
    for (ssize_t i = 0; i < count && i < QUEUES_MAX; i++) {
        printf("%-24s %9zu %9zu", queues[i].name, queues[i].waiting, queues[i].in_flight);
        print_age(queues[i].oldest);
        printf(" %11zu %9zu %9zu\n", queues[i].redelivered, queues[i].dead, queues[i].results);
    }
    fflush(stdout);
    free(queues);
    return count < 0 ? (int)count : 0;
}

static int watch_queues(async_cluster *cluster)
{
    int code;
    do {
        if (watch > 0 && isatty(1)) printf("\033[H\033[J");
        code = show_queues(cluster);
        if (code == 0 && watch > 0) code = async_sleep(watch);
    } while (code == 0 && watch > 0);
    return code;
}

static int show_dead(async_cluster *cluster, const char *queue)
{
    printf("%8s %9s %-16s %s\n", "number", "age", "error", "message");
    async_for (async_cluster_dead, dead, async_cluster_dead_jobs(cluster, queue)) {
        printf("%8llu", (unsigned long long)dead.number);
        print_age(dead.age);
        printf(" %-16s %s\n", async_error_name(dead.code), dead.message);
    }
    return async_block_error();
}

static int requeue(async_cluster *cluster, const char *queue)
{
    ssize_t count = 0, got = 0;
    if (word_count == 2) {
        count = got = async_cluster_requeue(cluster, queue, 0);
    } else {
        for (int i = 2; i < word_count && got >= 0; i++) {
            char *end;
            unsigned long long number = strtoull(words[i], &end, 10);
            if (*end || number == 0) return async_raise(-EINVAL, "\"%s\" is no number", words[i]);
            got = async_cluster_requeue(cluster, queue, number);
            if (got >= 0) count += got;
        }
    }
    if (got < 0) return (int)got;
    printf("%zd jobs of %s are in the queue again\n", count, queue);
    return 0;
}

static int main_task(void *unused)
{
    int code = 0;
    const async_cluster_options options = {.name = "casyncio-jobs",
                                           .credentials = getenv("NATS_CREDS")};
    async_with_cluster (cluster, url, &options) {
        if (word_count == 0)
            code = watch_queues(cluster);
        else if (strcmp(words[0], "dead") == 0)
            code = show_dead(cluster, words[1]);
        else
            code = requeue(cluster, words[1]);
    }
    return code < 0 ? code : async_block_error();
}

static void usage(FILE *to)
{
    fputs("usage: casyncio-jobs [--url URL] [--watch [SECONDS]]\n"
          "       casyncio-jobs [--url URL] dead QUEUE\n"
          "       casyncio-jobs [--url URL] requeue QUEUE [NUMBER ...]\n",
          to);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"url", required_argument, NULL, 'u'},
                                            {"watch", optional_argument, NULL, 'w'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'v'},
                                            {NULL, 0, NULL, 0}};
    int option;

    url = getenv("NATS_URL");
    if (!url) url = "nats://127.0.0.1:4222";
    while ((option = getopt_long(argc, argv, "u:w::hv", options, NULL)) >= 0) {
        switch (option) {
        case 'u': url = optarg; break;
        case 'w':
            /* "--watch 5" as well as "--watch=5" */
            if (!optarg && optind < argc &&
                strspn(argv[optind], "0123456789.") == strlen(argv[optind]))
                optarg = argv[optind++];
            watch = optarg ? atof(optarg) : 1;
            if (!(watch >= 0.05)) errx(2, "--watch: \"%s\" are no seconds", optarg);
            break;
        case 'h': usage(stdout); return 0;
        case 'v': printf("casyncio-jobs %s\n", async_version()); return 0;
        default: usage(stderr); return 2;
        }
    }
    words = argv + optind;
    word_count = argc - optind;
    if (word_count > 0 && !(strcmp(words[0], "dead") == 0 && word_count == 2) &&
        !(strcmp(words[0], "requeue") == 0 && word_count >= 2)) {
        usage(stderr);
        return 2;
    }
    int code = async_run(main_task, NULL);
    if (code < 0 && code != -EINTR) errx(1, "%s", async_run_error_message());
    return 0;
}
