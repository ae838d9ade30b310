/* What the jobs of the soak and of the log measurements run.

   worker soak SEED BATCH [KIND]  do what workload.py says of this job, which finds its index and attempt in its
                                  environment; KIND: every job is of the kind at this place of the table
   worker print LINES             print so many lines as fast as they are taken */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 100

struct kind {
    unsigned share; /* jobs in 100,000 */
    unsigned milliseconds;
    unsigned lines;
    int exit_code;
    bool only_first_attempt; /* the exit code is that of the first attempt */
    int signal;
};

/* The same table stands in workload.py. */
static const struct kind kinds[] = {
    {60000, 0, 0, 0, false, 0},  {30100, 0, 10, 0, false, 0}, {4000, 100, 0, 0, false, 0},
    {2000, 100, 10, 0, false, 0}, {500, 1000, 10, 0, false, 0}, {100, 0, 20000, 0, false, 0},
    {1799, 0, 1, 3, false, 0},   {1000, 0, 10, 4, true, 0},   {500, 0, 0, 0, false, SIGSEGV},
    {1, 3600000, 10, 0, false, 0},
};

static uint64_t mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15u;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

static const struct kind *kind_of(uint64_t seed, uint64_t job)
{
    uint64_t place = mix(seed ^ mix(job)) % 100000;
    const struct kind *kind = kinds;
    while (place >= kind->share) place -= kind++->share;
    return kind;
}

/* "JOB ATTEMPT NUMBER RANDOM......", LINE_BYTES with the newline. */
static void print(uint64_t job, unsigned attempt, uint64_t lines)
{
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    for (uint64_t number = 0; number < lines; number++) {
        char line[LINE_BYTES + 1];
        uint64_t random = mix(job * 1000003 + number);
        int length = snprintf(line, sizeof line, "%llu %u %llu %016llx", (unsigned long long)job, attempt,
                              (unsigned long long)number, (unsigned long long)random);
        memset(line + length, '.', (size_t)(LINE_BYTES - length));
        line[LINE_BYTES - 1] = '\n';
        if (fwrite(line, LINE_BYTES, 1, stdout) != 1) exit(70);
    }
    if (fflush(stdout) != 0) exit(70);
}

static int soak(uint64_t seed, uint64_t batch, const struct kind *only)
{
    const char *index = getenv("AWS_BATCH_JOB_ARRAY_INDEX"), *tried = getenv("AWS_BATCH_JOB_ATTEMPT");
    if (index == NULL || tried == NULL) return 71;
    uint64_t job = batch * 1000 + strtoull(index, NULL, 10);
    unsigned attempt = (unsigned)atoi(tried);
    const struct kind *kind = only != NULL ? only : kind_of(seed, job);
    print(job, attempt, kind->lines);
    struct timespec pause = {kind->milliseconds / 1000, (kind->milliseconds % 1000) * 1000000l};
    if (kind->milliseconds > 0) nanosleep(&pause, NULL);
    if (kind->signal != 0) raise(kind->signal);
    return kind->only_first_attempt && attempt > 1 ? 0 : kind->exit_code;
}

int main(int count, char **words)
{
    if ((count == 4 || count == 5) && strcmp(words[1], "soak") == 0) {
        unsigned long place = count == 5 ? strtoul(words[4], NULL, 10) : 0;
        if (place >= sizeof kinds / sizeof *kinds) return 73;
        return soak(strtoull(words[2], NULL, 10), strtoull(words[3], NULL, 10), count == 5 ? &kinds[place] : NULL);
    }
    if (count == 3 && strcmp(words[1], "print") == 0) {
        print(0, 1, strtoull(words[2], NULL, 10));
        return 0;
    }
    return 72;
}
