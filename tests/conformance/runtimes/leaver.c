/* A job that leaves behind what outlives its processes, unless the slot sees to it.

   leaver sockets DEPTH MIB  memory in a file that only Unix sockets hold, each inside the next one
   leaver port DEPTH PORT    a port in the same way
   leaver shared MIB         System V memory, and is killed
   leaver bytes COUNT        prints single bytes, each a piece of its own
   leaver watches            takes all inotify instances that there are, and keeps them
   leaver take MIB           uses so much memory
   leaver listen PORT        listens there
*/
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void must(int done, const char *what)
{
    if (done) return;
    perror(what);
    exit(3);
}

static void pass(int through, int fd)
{
    char byte = 0, room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    must(sendmsg(through, &message, 0) == 1, "sendmsg");
}

static void bury(int fd, int depth)
{
    int pair[2];
    while (depth-- > 0) {
        must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
        pass(pair[1], fd);
        close(fd);
        close(pair[1]);
        fd = pair[0];
    }
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    pass(pair[0], fd);
    pass(pair[0], pair[1]);
    pass(pair[0], pair[0]);
}

static void fill(void *memory, size_t size) { memset(memory, 1, size); }

static int listening(int port)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    must(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 5) == 0, "listen");
    return fd;
}

int main(int count, char **words)
{
    const char *what = words[1];
    long first = count > 2 ? atol(words[2]) : 0, second = count > 3 ? atol(words[3]) : 0;
    if (strcmp(what, "sockets") == 0) {
        int file = (int)syscall(SYS_memfd_create, "left", 0);
        size_t size = (size_t)second << 20;
        must(ftruncate(file, (off_t)size) == 0, "ftruncate");
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        must(memory != MAP_FAILED, "mmap");
        fill(memory, size);
        munmap(memory, size);
        bury(file, (int)first);
    } else if (strcmp(what, "port") == 0) {
        bury(listening((int)second), (int)first);
    } else if (strcmp(what, "shared") == 0) {
        for (long n = 0; n < first; n++) {
            int id = shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0600);
            void *memory = shmat(id, NULL, 0);
            must(memory != (void *)-1, "shmat");
            fill(memory, 1 << 20);
            shmdt(memory);
        }
        raise(SIGKILL);
    } else if (strcmp(what, "bytes") == 0) {
        fcntl(1, F_SETFL, fcntl(1, F_GETFL) | O_DIRECT);
        for (long n = 0; n < first; n++) must(write(1, "x", 1) == 1, "write");
    } else if (strcmp(what, "watches") == 0) {
        while (inotify_init() >= 0) first++;
        printf("%ld\n", first);
        fflush(stdout);
        pause();
    } else if (strcmp(what, "take") == 0) {
        size_t size = (size_t)first << 20;
        fill(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), size);
    } else if (strcmp(what, "listen") == 0) {
        listening((int)first);
    } else {
        return 2;
    }
    return 0;
}
