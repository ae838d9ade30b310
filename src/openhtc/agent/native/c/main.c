#define _GNU_SOURCE
#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A job that ends sooner is not told of twice: its end says when it began. */
#define STARTED_AFTER_MS 5
/* Each piece of output costs the agent: of small ones it gets what comes within a millisecond. */
#define SMALL_BYTES 4096
#define GATHER_US 1000
/* So long a slot waits for what its last job left in sockets; then it rests, and its agent does without it meanwhile. */
#define LEFT_MS 500
#define REST_SECONDS 300

enum { LEFT = 0, CANNOT = 70, FULL = 73, RESTED = 74, UNCLEAN = 75, USED = 76 };

struct options options = {.network = -1, .users = -1, .filter = -1, .cpu = -1, .peak = -1, .ooms = -1, .etc = -1};

static struct report *shared;

static int64_t micros(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000ll + now.tv_nsec / 1000;
}

static void stop(int code, const char *why)
{
    if (why != NULL) fprintf(stderr, "%s: %s\n", why, strerror(errno));
    exit(code);
}

/* Sends what waits; nothing else goes on meanwhile. */
static void flush_all(void)
{
    for (;;) {
        if (!wire_flush()) stop(LEFT, NULL);
        if (!wire_blocked()) return;
        poll(&(struct pollfd){wire_fd(), POLLOUT, 0}, 1, -1);
    }
}

/* One piece of output, its size; 0 at its end, or when there is none at the moment. A read ends where a write of the job
 * ended, if the job has made the pipe so. */
static size_t pass_on(int output, uint64_t id)
{
    static char data[READ_BYTES];
    size_t have = 0;
    ssize_t got;
    while (have < sizeof data && (got = read(output, data + have, sizeof data - have)) > 0) have += (size_t)got;
    if (have == 0) return 0;
    wire_send(OUTPUT, id, data, have, NULL, 0);
    if (!wire_flush()) stop(LEFT, NULL);
    return have;
}

static void tell_recalled(void);

static void obey(uint64_t id, int process)
{
    if (!wire_read()) {
        syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0);
        stop(LEFT, NULL);
    }
    int number = wire_take_signal(id);
    if (number != 0) syscall(SYS_pidfd_send_signal, process, number, NULL, 0);
    tell_recalled();
}

/* Until the container's first process has ended, and with it all others. */
static void attend(uint64_t id, int process, int output, int64_t started_us)
{
    const int64_t tell_at = micros(CLOCK_MONOTONIC) + STARTED_AFTER_MS * 1000;
    bool told = false, open = true;
    int64_t small_at = 0;
    for (;;) {
        struct pollfd at[] = {{process, POLLIN, 0},
                              {wire_fd(), (short)(POLLIN | (wire_blocked() ? POLLOUT : 0)), 0},
                              {open && !wire_blocked() ? output : -1, POLLIN, 0}};
        int ready = poll(at, 3, told ? -1 : STARTED_AFTER_MS);
        /* A job that prints all the time never makes the poll wait so long. */
        if (!told && at[0].revents == 0 && (ready == 0 || micros(CLOCK_MONOTONIC) >= tell_at)) {
            wire_send(STARTED, id, &started_us, sizeof started_us, NULL, 0);
            told = true;
        }
        if (at[1].revents != 0) obey(id, process);
        if (wire_blocked() && !wire_flush()) stop(LEFT, NULL);
        if (at[0].revents != 0) return;
        if (at[2].revents == 0) continue;
        if (micros(CLOCK_MONOTONIC) - small_at < GATHER_US) nanosleep(&(struct timespec){0, GATHER_US * 1000}, NULL);
        size_t passed = pass_on(output, id);
        if (passed == 0) open = (at[2].revents & POLLHUP) == 0;
        small_at = passed < SMALL_BYTES ? micros(CLOCK_MONOTONIC) : 0;
    }
}

static void drain(int output, uint64_t id)
{
    do flush_all();
    while (pass_on(output, id) > 0);
}

static void tell_end(uint64_t id, const struct ended *ended, const char *what)
{
    wire_send(ENDED, id, ended, sizeof *ended, what, what != NULL ? strlen(what) : 0);
    flush_all();
}

static void tell_failure(uint64_t id, uint32_t stage, const struct failure *failure)
{
    struct ended ended = {.started_us = micros(CLOCK_REALTIME), .stage = stage, .error = failure->error};
    ended.ended_us = ended.started_us;
    ended.flags = failure->error == ENOSPC || root_full() ? DISK_FULL : 0;
    tell_end(id, &ended, failure->what);
}

/* Jobs that were lined up and shall not begin here. What is sent waits for the next flush. */
static void tell_recalled(void)
{
    const struct ended ended = {.stage = NOT_BEGUN};
    for (struct request *request; (request = wire_take_recalled()) != NULL; request_free(request))
        wire_send(ENDED, request->id, &ended, sizeof ended, NULL, 0);
}

static void fill_end(struct ended *ended, const struct meters *before, int64_t began)
{
    ended->ended_us = ended->started_us + micros(CLOCK_MONOTONIC) - began;
    ended->stage = (uint32_t)shared->stage;
    ended->error = shared->error;
    /* The first process tells how the program ended, unless it was killed itself. */
    ended->exit_code = shared->stage == RAN ? shared->status : 128 + SIGKILL;
    if (shared->stage == NOT_BEGUN) ended->stage = RAN;
    ended->flags = root_full() ? DISK_FULL : 0;
    meters_read(before, ended);
}

/* Until nothing is left of the last job. What was lined up begins elsewhere, and this program begins anew; in another
 * network if this one was used. */
static void rest(void)
{
    for (int tries = 0; tries < REST_SECONDS * 10; tries++) {
        if (!wire_read()) stop(LEFT, NULL);
        wire_recall_all();
        tell_recalled();
        flush_all();
        if (sockets_gone(tries == 0 ? 0 : 100)) exit(traffic_seen() ? USED : RESTED);
    }
    exit(UNCLEAN);
}

/* Starts the container and waits for its end; false when there was none. */
static bool run(const struct request *request, struct timespec *began_tick)
{
    struct ended ended = {0};
    struct meters before = {0};
    int ends[2], process = -1;
    uid_t owner = options.base + (options.users >= 0 ? request->run.uid : 0);
    if (pipe2(ends, O_CLOEXEC) != 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) stop(CANNOT, "pipe");
    if (fchown(ends[1], owner, (gid_t)-1) != 0) stop(CANNOT, "pipe"); /* so that /dev/stdout can be opened */
    meters_reset(&before);
    int64_t began = micros(CLOCK_MONOTONIC);
    ended.started_us = micros(CLOCK_REALTIME);
    clock_gettime(CLOCK_REALTIME_COARSE, began_tick);
    pid_t pid = job_start(request, ends[1], shared, &process);
    int error = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        tell_failure(request->id, NODE_FAILED, &(struct failure){"a container", error});
        return false;
    }
    attend(request->id, process, ends[0], ended.started_us);
    waitpid(pid, NULL, 0);
    ipc_settle();
    bool clean = sockets_gone(LEFT_MS) && !traffic_seen();
    fill_end(&ended, &before, began);
    drain(ends[0], request->id);
    if (!clean) wire_send(RESTING, request->id, NULL, 0, NULL, 0); /* first, so that nothing is sent here at the end */
    close(ends[0]);
    close(process);
    tell_end(request->id, &ended, ended.stage != RAN ? shared->what : NULL);
    if (!clean) rest();
    return true;
}

static void serve(struct request *request)
{
    struct failure failure = {0};
    struct timespec began = {0};
    bool no_workdir = false;
    if (!root_enter(request, &failure, &no_workdir))
        tell_failure(request->id, no_workdir ? NO_WORKDIR : NODE_FAILED, &failure);
    else if (run(request, &began) && !root_leave(&began))
        exit(FULL);
    request_free(request);
}

/* Options --------------------------------------------------------------------------------------- */

static void read_option(const char *word)
{
    static const struct { const char *name; int *number; } numbers[] = {
        {"socket=", &options.socket}, {"network=", &options.network}, {"users=", &options.users}, {"filter=", &options.filter},
        {"cpu=", &options.cpu}, {"peak=", &options.peak}, {"ooms=", &options.ooms}, {"etc=", &options.etc}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strncmp(word, numbers[i].name, strlen(numbers[i].name)) == 0) {
            *numbers[i].number = atoi(word + strlen(numbers[i].name));
            fcntl(*numbers[i].number, F_SETFD, FD_CLOEXEC);
            return;
        }
    if (strncmp(word, "images=", 7) == 0) options.images = strdup(word + 7);
    else if (strncmp(word, "space=", 6) == 0) options.space = strdup(word + 6);
    else if (strncmp(word, "base=", 5) == 0) options.base = (uid_t)strtoul(word + 5, NULL, 10);
    else if (strcmp(word, "limited") == 0) options.limited = true;
    else errno = EINVAL, stop(CANNOT, word);
}

static void read_filter(void)
{
    struct stat status;
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", options.filter);
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) != 0) stop(CANNOT, "the system call filter");
    options.program_size = (size_t)status.st_size;
    options.program = mmap(NULL, options.program_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (options.program == MAP_FAILED) stop(CANNOT, "the system call filter");
    close(file);
}

/* With the first request: by then the agent has put this process into its cgroup. */
static void begin(void)
{
    struct failure failure = {0};
    job_begin();
    if (!sockets_begin()) stop(CANNOT, "the list of sockets");
    if (!traffic_begin()) stop(CANNOT, "the counters of the network");
    unshare(CLONE_NEWCGROUP); /* where there are none, nothing is seen of the host's either */
    if (!root_begin(&failure)) {
        errno = failure.error;
        stop(CANNOT, failure.what);
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) read_option(argv[i]);
    /* Containers see the command line of their first process, which is a copy of this one. */
    for (int i = 1; i < argc; i++) memset(argv[i], 0, strlen(argv[i]));
    if (options.images == NULL || options.space == NULL || options.etc < 0) return CANNOT;
    read_filter();
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || !wire_open(options.socket)) stop(CANNOT, "socket");
    if (options.network >= 0 && setns(options.network, CLONE_NEWNET) != 0) stop(CANNOT, "the slot's network");
    for (bool begun = false;;) {
        struct request *request;
        if (!wire_read()) return LEFT;
        tell_recalled();
        flush_all();
        while ((request = wire_take()) != NULL) {
            if (!begun) begin();
            begun = true;
            serve(request);
        }
        poll(&(struct pollfd){wire_fd(), POLLIN, 0}, 1, -1);
    }
}
