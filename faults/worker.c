/* A job that tells a ledger outside the service when it begins and when it has done its work.
 *
 * worker PORT MILLISECONDS LINES FAILS: attempts up to FAILS end with exit code 3. Exit code 90: no ledger. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void rest(long milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&time, &time) != 0) continue;
}

/* Nothing goes on before the ledger has written it down. The number of this execution tells a line that was sent again
 * from a program that was started again. */
static int tell(int port, char what, const char *job, int attempt)
{
    static unsigned long long execution;
    if (execution == 0 && getrandom(&execution, sizeof execution, 0) != sizeof execution) return 92;
    for (int tries = 0; tries < 50; tries++) {
        int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
        struct timeval patience = {5, 0};
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        char line[160], answer[8] = "";
        int length = snprintf(line, sizeof line, "%c %s %d %016llx\n", what, job, attempt, execution);
        if (connect(s, (struct sockaddr *)&to, sizeof to) == 0 && write(s, line, (size_t)length) == length &&
            read(s, answer, sizeof answer) > 0 && answer[0] == 'k') {
            close(s);
            return 0;
        }
        close(s);
        rest(100);
    }
    return 90;
}

int main(int count, char **words)
{
    const char *job = getenv("RESCALE_JOB_ID"), *tried = getenv("AWS_BATCH_JOB_ATTEMPT");
    if (count != 5 || job == NULL || tried == NULL) return 91;
    int port = atoi(words[1]), lines = atoi(words[3]), fails = atoi(words[4]), attempt = atoi(tried);
    int code = tell(port, 'B', job, attempt);
    if (code != 0) return code;
    for (int n = 0; n < lines; n++) {
        printf("%d %d\n", attempt, n);
        if (n == lines / 2) {
            fflush(stdout);
            rest(atol(words[2]));
        }
    }
    fflush(stdout);
    code = tell(port, 'E', job, attempt);
    if (code != 0) return code;
    return attempt <= fails ? 3 : 0;
}
