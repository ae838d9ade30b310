#define _GNU_SOURCE
#include "slot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is larger or deeper than this is left to a slower and more patient way. */
#define MAX_DEPTH 64
#define MAX_ENTRIES 20000

static bool empty(int directory, int depth, int *left);

static bool remove_entry(int directory, const char *name, unsigned char type, int depth, int *left)
{
    if (--*left < 0) return false;
    if (type != DT_DIR && unlinkat(directory, name, 0) == 0) return true;
    int inner = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner < 0 && errno == EACCES && fchmodat(directory, name, 0700, 0) == 0)
        inner = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner < 0) return false;
    return empty(inner, depth + 1, left) && unlinkat(directory, name, AT_REMOVEDIR) == 0;
}

/* Closes the descriptor. */
static bool empty(int directory, int depth, int *left)
{
    DIR *stream = depth <= MAX_DEPTH ? fdopendir(directory) : NULL;
    if (stream == NULL) {
        close(directory);
        return false;
    }
    bool done = true;
    struct dirent *entry;
    while (done && (entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        done = remove_entry(directory, entry->d_name, entry->d_type, depth, left);
    }
    closedir(stream);
    return done;
}

bool tree_remove(int directory, const char *name)
{
    int left = MAX_ENTRIES;
    return remove_entry(directory, name, DT_DIR, 0, &left);
}
