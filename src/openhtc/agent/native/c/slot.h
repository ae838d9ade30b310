/* One process for each slot of a node: it waits in the slot's cgroup and network, and starts one container after the
 * other. Python decides (what to run, when to stop it, what its end means); this program does what must be quick.
 *
 *   main.c    the loop: requests in, one container at a time, news out
 *   wire.c    frames on the socket to the agent
 *   root.c    the root file system that jobs get copies of
 *   upper.c   its layers beside the image; did a job change anything?
 *   devices.c its /dev and /sys; did a job leave anything in /dev/shm?
 *   ipc.c     shared memory, semaphores and queues; did a job leave any?
 *   sockets.c what a job left in sockets that nobody reads
 *   traffic.c did a job use the network?
 *   tree.c    removing what a job wrote
 *   job.c     a container's first process, and the program under it
 *   meters.c  the cgroup's counters
 */
#ifndef OPENHTC_SLOT_H
#define OPENHTC_SLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#define MAX_FRAME (4u << 20)
#define READ_BYTES (64u << 10)

/* Frames ------------------------------------------------------------------------------------ */

enum { RUN = 1, SIGNAL = 2, RECALL = 3 }; /* to this program */
enum { STARTED = 16, OUTPUT = 17, ENDED = 18, RESTING = 19 }; /* from it */

struct header {
    uint32_t length; /* of what follows the header */
    uint32_t kind;
    uint64_t id;
};

/* Payload of RUN: this, then the groups (uint32_t each), then the strings, each with its zero byte:
 * image, host name, working directory, the image's working directory (made when missing; may be empty),
 * args[argc], env[envc]. */
struct run {
    uint32_t uid, gid; /* inside the container */
    uint32_t groups, argc, envc;
    uint32_t reserved;
    uint64_t shm_bytes;
};

/* Why a program did not run. */
enum stage { RAN = 0, CANNOT_EXECUTE = 1, NODE_FAILED = 2, NOT_BEGUN = 3, NO_WORKDIR = 4 };
enum { DISK_FULL = 1 };

/* Payload of ENDED, then the name of what failed (not terminated) unless the program ran. */
struct ended {
    int64_t started_us, ended_us; /* since the epoch; the end by the monotonic clock */
    int64_t cpu_us, peak_bytes;   /* of this job */
    int32_t exit_code;            /* as a shell shows it */
    uint32_t stage;
    int32_t error;                /* errno */
    uint32_t flags;
    uint32_t oom_kills;
    uint32_t reserved;
};

struct request {
    struct request *next;
    uint64_t id;
    struct run run;
    uint32_t *groups;
    char *image, *hostname, *cwd, *workdir, **argv, **envp;
    bool recalled;
};

bool wire_open(int socket);
int wire_fd(void);
bool wire_read(void);                   /* what has come; false when the agent has gone */
struct request *wire_take(void);        /* the oldest RUN, or NULL */
struct request *wire_take_recalled(void); /* one that is not to begin, or NULL */
int wire_take_signal(uint64_t id);      /* the strongest signal asked for since, or 0 */
void wire_send(uint32_t kind, uint64_t id, const void *a, size_t a_size, const void *b, size_t b_size);
bool wire_blocked(void);                /* something waits to be sent */
bool wire_flush(void);                  /* false when the agent has gone */
void wire_recall_all(void);              /* nothing that waits is to begin */
void request_free(struct request *request);

/* What the slot was made with ---------------------------------------------------------------- */

struct options {
    int socket, network, users, filter; /* descriptors; users is -1 as an ordinary user */
    int cpu, peak, ooms;                /* of the cgroup; -1 where there is none */
    bool limited;                       /* the scratch file system has the job's size */
    const char *images;                 /* every image lies below it */
    const char *space;                  /* the job's disk */
    int etc;                            /* directory with files for /etc */
    uid_t base;                         /* host id of the container's root */
    const void *program;                /* the system call filter */
    size_t program_size;
};
extern struct options options;

/* A failure has a name; errno says the rest. */
struct failure {
    const char *what;
    int error;
};
bool fail(struct failure *failure, const char *what); /* with errno; false */

/* root.c */
bool root_begin(struct failure *failure);
bool root_enter(const struct request *request, struct failure *failure, bool *no_workdir);
bool root_leave(const struct timespec *job_started); /* false when the disk cannot be emptied from here */
bool root_full(void);

/* upper.c */
bool beside_make(int space, const char *name, const char *image);
bool upper_make(int space, const char *name, const char *image);
bool upper_settle(void);
bool upper_untouched(const struct timespec *job_started);
void upper_wait(void);
void upper_forget(void);

/* devices.c */
bool devices_make(uint64_t shm_bytes, struct failure *failure);
bool devices_attach(void);
bool devices_untouched(void);
void devices_clean(void);

/* ipc.c */
bool ipc_new(void);
void ipc_settle(void);
bool ipc_untouched(void);

/* sockets.c */
bool sockets_begin(void);
bool sockets_gone(int milliseconds);

/* traffic.c */
bool traffic_begin(void);
bool traffic_seen(void);

/* tree.c: false when it is too large or too deep to be removed here */
bool tree_remove(int directory, const char *name);

/* job.c */
struct report {
    volatile int stage, error, status;
    const char *volatile what;
};
void job_begin(void);
pid_t job_start(const struct request *request, int output, struct report *report, int *pidfd);

/* meters.c */
struct meters {
    int64_t cpu_us, peak_bytes, ooms;
};
void meters_reset(struct meters *before);
void meters_read(const struct meters *before, struct ended *ended);

#endif
