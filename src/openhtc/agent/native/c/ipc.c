#define _GNU_SOURCE
#include "slot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

/* A new IPC namespace takes a tenth of the start of a container. Hardly any job makes a System V object or a message
 * queue, so jobs of a slot share one as long as it is empty: the next job sees what it would see in a new one, but for ids
 * that go on counting. */

static int queues = -1;
static bool used;

/* In the base, where the file system of the new namespace's message queues is seen by nobody but us. */
bool ipc_new(void)
{
    if (queues >= 0) {
        close(queues);
        umount2("/queues", MNT_DETACH);
    }
    queues = -1;
    if (unshare(CLONE_NEWIPC) != 0) return false;
    used = false;
    if (mount("mqueue", "/queues", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0) return errno == ENODEV;
    queues = open("/queues", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return queues >= 0;
}

static bool no_queues(void)
{
    if (queues < 0) return true; /* this kernel has none */
    int again = openat(queues, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = again >= 0 ? fdopendir(again) : NULL;
    if (stream == NULL) return false;
    struct dirent *entry;
    bool empty = true;
    while (empty && (entry = readdir(stream)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(stream);
    return empty;
}

static bool is_empty(void)
{
    struct shm_info memory;
    struct msginfo messages;
    struct seminfo semaphores;
    union {
        int value;
        struct seminfo *info;
    } argument = {.info = &semaphores};
    return shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&memory) >= 0 && memory.used_ids == 0 &&
           msgctl(0, MSG_INFO, (struct msqid_ds *)(void *)&messages) >= 0 && messages.msgpool == 0 &&
           semctl(0, 0, SEM_INFO, argument) >= 0 && semaphores.semusz == 0 && no_queues();
}

/* What a job leaves holds memory of its cgroup, and a namespace that ends is taken apart by the kernel later, when the
 * next job runs already: so it is given back one by one. */
static void clear(void)
{
    struct shm_info memory;
    struct msginfo messages;
    struct seminfo semaphores;
    struct shmid_ds segment;
    struct msqid_ds queue;
    struct semid_ds set;
    union {
        int value;
        struct semid_ds *set;
        struct seminfo *info;
    } about = {.info = &semaphores}, one = {.set = &set};
    int id, last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&memory);
    for (int i = 0; i <= last; i++)
        if ((id = shmctl(i, SHM_STAT, &segment)) >= 0) shmctl(id, IPC_RMID, NULL);
    last = msgctl(0, MSG_INFO, (struct msqid_ds *)(void *)&messages);
    for (int i = 0; i <= last; i++)
        if ((id = msgctl(i, MSG_STAT, &queue)) >= 0) msgctl(id, IPC_RMID, NULL);
    last = semctl(0, 0, SEM_INFO, about);
    for (int i = 0; i <= last; i++)
        if ((id = semctl(i, 0, SEM_STAT, one)) >= 0) semctl(id, 0, IPC_RMID);
}

/* After a job: whether the next one may share the namespace. */
void ipc_settle(void)
{
    if (is_empty()) return;
    clear();
    used = true;
}

bool ipc_untouched(void) { return !used; }
