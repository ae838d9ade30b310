#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Requests wait in a list, signals beside it: a signal may overtake the request that it is for. */

static int sock = -1;
static struct request *first, **last = &first;
static struct { uint64_t id; int number; } wanted;

static unsigned char *in;
static size_t in_size, in_used;
static unsigned char *out;
static size_t out_size, out_from, out_to;

static void *must(void *memory)
{
    if (memory == NULL) _exit(71);
    return memory;
}

bool wire_open(int socket)
{
    sock = socket;
    return fcntl(sock, F_SETFL, O_NONBLOCK) == 0;
}

int wire_fd(void) { return sock; }

void request_free(struct request *request)
{
    free(request->argv);
    free(request->groups);
    free(request->image);
    free(request);
}

/* The next string of the payload, NULL when it has no end. */
static char *text(char **at, const char *end)
{
    char *begin = *at;
    char *zero = begin < end ? memchr(begin, 0, (size_t)(end - begin)) : NULL;
    if (zero == NULL) return NULL;
    *at = zero + 1;
    return begin;
}

static struct request *parse(uint64_t id, const unsigned char *payload, size_t size)
{
    struct request *request = must(calloc(1, sizeof *request));
    if (size < sizeof request->run) return NULL;
    memcpy(&request->run, payload, sizeof request->run);
    const struct run *run = &request->run;
    size_t groups = (size_t)run->groups * sizeof(uint32_t), rest = size - sizeof *run;
    if (run->groups > 65536 || groups > rest || run->argc == 0 || run->argc > rest || run->envc > rest) return NULL;
    request->id = id;
    request->groups = must(malloc(groups + 1));
    memcpy(request->groups, payload + sizeof *run, groups);
    size_t words = rest - groups;
    char *at = must(malloc(words + 1)), *end = at + words;
    memcpy(at, payload + sizeof *run + groups, words);
    request->image = text(&at, end);
    request->hostname = text(&at, end);
    request->cwd = text(&at, end);
    request->workdir = text(&at, end);
    request->argv = must(calloc((size_t)run->argc + run->envc + 2, sizeof(char *)));
    request->envp = request->argv + run->argc + 1;
    for (uint32_t i = 0; i < run->argc; i++)
        if ((request->argv[i] = text(&at, end)) == NULL) return NULL;
    for (uint32_t i = 0; i < run->envc; i++)
        if ((request->envp[i] = text(&at, end)) == NULL) return NULL;
    return at == end ? request : NULL;
}

static bool accept_frame(const struct header *header, const unsigned char *payload)
{
    if (header->kind == RUN) {
        struct request *request = parse(header->id, payload, header->length);
        if (request == NULL) return false;
        *last = request;
        last = &request->next;
        return true;
    }
    int32_t number;
    if (header->kind != RECALL && (header->kind != SIGNAL || header->length != sizeof number)) return false;
    /* A signal for a job that has not begun means that it shall not, and nothing to the one that runs. */
    bool waits = false;
    for (struct request *r = first; r != NULL; r = r->next)
        if (r->id == header->id) waits = r->recalled = true;
    if (waits || header->kind == RECALL) return true;
    memcpy(&number, payload, sizeof number);
    if (wanted.id != header->id || wanted.number != 9) {
        wanted.id = header->id;
        wanted.number = number;
    }
    return true;
}

/* Every whole frame; false for one that makes no sense: the two programs do not belong together. */
static bool accept_frames(void)
{
    size_t at = 0;
    struct header header;
    while (in_used - at >= sizeof header) {
        memcpy(&header, in + at, sizeof header);
        if (header.length > MAX_FRAME) return false;
        if (in_used - at < sizeof header + header.length) break;
        if (!accept_frame(&header, in + at + sizeof header)) return false;
        at += sizeof header + header.length;
    }
    memmove(in, in + at, in_used - at);
    in_used -= at;
    return true;
}

bool wire_read(void)
{
    for (;;) {
        if (in_size - in_used < READ_BYTES) in = must(realloc(in, in_size = in_used + 2 * READ_BYTES));
        ssize_t got = recv(sock, in + in_used, in_size - in_used, 0);
        if (got < 0) return errno == EAGAIN || errno == EINTR;
        if (got == 0) return false;
        in_used += (size_t)got;
        if (!accept_frames()) return false;
    }
}

struct request *wire_take(void)
{
    struct request *request = first;
    if (request != NULL) {
        first = request->next;
        if (first == NULL) last = &first;
    }
    return request;
}

struct request *wire_take_recalled(void)
{
    for (struct request **at = &first; *at != NULL; at = &(*at)->next)
        if ((*at)->recalled) {
            struct request *request = *at;
            *at = request->next;
            if (*at == NULL) last = at;
            return request;
        }
    return NULL;
}

void wire_recall_all(void)
{
    for (struct request *r = first; r != NULL; r = r->next) r->recalled = true;
}

int wire_take_signal(uint64_t id)
{
    if (wanted.id != id) return 0;
    int number = wanted.number;
    wanted.number = 0;
    return number;
}

bool wire_blocked(void) { return out_from < out_to; }

bool wire_flush(void)
{
    while (out_from < out_to) {
        ssize_t sent = send(sock, out + out_from, out_to - out_from, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN || errno == EINTR;
        out_from += (size_t)sent;
    }
    out_from = out_to = 0;
    return true;
}

static void append(const void *data, size_t size)
{
    if (size == 0) return;
    memcpy(out + out_to, data, size);
    out_to += size;
}

void wire_send(uint32_t kind, uint64_t id, const void *a, size_t a_size, const void *b, size_t b_size)
{
    struct header header = {(uint32_t)(a_size + b_size), kind, id};
    size_t size = sizeof header + a_size + b_size;
    if (out_size - out_to < size) out = must(realloc(out, out_size = out_to + size + 4096));
    append(&header, sizeof header);
    append(a, a_size);
    append(b, b_size);
}
