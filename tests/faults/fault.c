/* Count the operations on files below a folder, and make the n-th of them fail.

   Loaded with LD_PRELOAD. All processes of a run share one control file (named by FAULT_CONTROL),
   which harness.py maps too: the counter runs through forks, and the harness arms, reads and
   disarms without a word to the process. Offsets are those of `Control` in harness.py.

   Only what goes through these libc functions is seen; test_trace.py compares the log of a run
   with its system calls. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { N_LOGGED = 16384, LOG_BYTES = 256 };
enum fault {
    NONE, KILL_GROUP, KILL_ONE, FULL_DISK, IO_ERROR, SHORT_WRITE, TORN_WRITE, STOP_GROUP
};
/* What an operation needs: a full disk still deletes. */
enum need { NEEDS_ROOM, NEEDS_NOTHING, WRITES, READS };

struct control {
    uint32_t armed, counts_reads, fault, fired; /* fired: by which process */
    uint64_t target, counter;
    uint32_t disk_is_full, skips_sync;
    char root[1024];
    char log[N_LOGGED][LOG_BYTES];
};

static struct control *control;

__attribute__((constructor)) static void map_control(void) {
    const char *path = getenv("FAULT_CONTROL");
    if (!path) return;
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    int file = real_open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) abort();
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (control == MAP_FAILED) abort();
    close(file);
}

static int is_below_root(const char *path) {
    size_t length = strlen(control->root);
    return strncmp(path, control->root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int path_of_handle(int handle, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, size - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static void absolute(int folder, const char *name, char *path, size_t size) {
    char base[2048];
    if (name[0] == '/') {
        snprintf(path, size, "%s", name);
        return;
    }
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) base[0] = 0;
    } else if (!path_of_handle(folder, base, sizeof base)) {
        base[0] = 0;
    }
    snprintf(path, size, "%s/%s", base, name);
}

/* Count one operation. Return 0 to do it, an errno to fail it, or -1 to write half. */
static int fault_of(const char *operation, const char *path, enum need need) {
    if ((need == READS) != (control->counts_reads != 0) || !is_below_root(path)) return 0;
    uint64_t number = __sync_add_and_fetch(&control->counter, 1);
    if (number <= N_LOGGED)
        snprintf(control->log[number - 1], LOG_BYTES, "%s %.200s", operation,
                 path + strlen(control->root));
    if (control->disk_is_full && need != NEEDS_NOTHING) return ENOSPC;
    if (number < control->target || control->fault == NONE) return 0;
    int is_about_writes = control->fault == SHORT_WRITE || control->fault == TORN_WRITE;
    if (is_about_writes ? need != WRITES : number != control->target) return 0;
    if (!__sync_bool_compare_and_swap(&control->fired, 0, (uint32_t)getpid())) return 0;
    switch (control->fault) {
        case KILL_GROUP: kill(0, SIGKILL); pause(); return EINTR;
        case KILL_ONE: kill(getpid(), SIGKILL); pause(); return EINTR;
        case STOP_GROUP: kill(0, SIGSTOP); return 0;
        case FULL_DISK: control->disk_is_full = 1; return ENOSPC;
        case IO_ERROR: return EIO;
        case SHORT_WRITE: control->disk_is_full = 1; return -1;
        case TORN_WRITE: return -1;
    }
    return 0;
}

static int fault_of_path(const char *operation, int folder, const char *name, enum need need) {
    if (!control || !control->armed) return 0;
    int before = errno;
    char path[4096];
    absolute(folder, name, path, sizeof path);
    int fault = fault_of(operation, path, need);
    errno = before;
    return fault;
}

static int fault_of_handle(const char *operation, int handle, enum need need) {
    if (!control || !control->armed) return 0;
    int before = errno;
    char path[4096];
    int fault = path_of_handle(handle, path, sizeof path) ? fault_of(operation, path, need) : 0;
    errno = before;
    return fault;
}

static void after_half(void) {
    if (control->fault == TORN_WRITE) {
        kill(0, SIGKILL);
        pause();
    }
}

#define REAL(name) ({ static typeof(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })
#define STOP_IF(fault) do { int code = (fault); if (code > 0) { errno = code; return -1; } } while (0)
#define ON_PATH(folder, name, need) STOP_IF(fault_of_path(__func__, folder, name, need))
#define ON_HANDLE(handle, need) STOP_IF(fault_of_handle(__func__, handle, need))

/* Opening: for writing it is counted among the writes, else among the reads. */
static int fault_of_open(int folder, const char *name, int flags) {
    if (flags & (O_PATH | O_DIRECTORY)) return 0;
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    return fault_of_path(writes ? "open" : "open_read", folder, name, writes ? NEEDS_ROOM : READS);
}

#define MODE(flags) ({ mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; \
    va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); } mode; })

int open(const char *name, int flags, ...) {
    mode_t mode = MODE(flags);
    STOP_IF(fault_of_open(AT_FDCWD, name, flags));
    return REAL(open)(name, flags, mode);
}
int open64(const char *name, int flags, ...) {
    mode_t mode = MODE(flags);
    STOP_IF(fault_of_open(AT_FDCWD, name, flags));
    return REAL(open64)(name, flags, mode);
}
int openat(int folder, const char *name, int flags, ...) {
    mode_t mode = MODE(flags);
    STOP_IF(fault_of_open(folder, name, flags));
    return REAL(openat)(folder, name, flags, mode);
}
int openat64(int folder, const char *name, int flags, ...) {
    mode_t mode = MODE(flags);
    STOP_IF(fault_of_open(folder, name, flags));
    return REAL(openat64)(folder, name, flags, mode);
}
int creat(const char *name, mode_t mode) {
    ON_PATH(AT_FDCWD, name, NEEDS_ROOM);
    return REAL(creat)(name, mode);
}
int creat64(const char *name, mode_t mode) {
    ON_PATH(AT_FDCWD, name, NEEDS_ROOM);
    return REAL(creat64)(name, mode);
}
static int fault_of_fopen(const char *name, const char *how) {
    int writes = strpbrk(how, "wa+") != NULL;
    return fault_of_path(writes ? "fopen" : "fopen_read", AT_FDCWD, name, writes ? NEEDS_ROOM : READS);
}
FILE *fopen(const char *name, const char *how) {
    int code = fault_of_fopen(name, how);
    if (code > 0) { errno = code; return NULL; }
    return REAL(fopen)(name, how);
}
FILE *fopen64(const char *name, const char *how) {
    int code = fault_of_fopen(name, how);
    if (code > 0) { errno = code; return NULL; }
    return REAL(fopen64)(name, how);
}

/* Writing: half of it may be done. */
#define WRITE(call_whole, call_half, handle) do { \
    int code = fault_of_handle(__func__, handle, WRITES); \
    if (code > 0) { errno = code; return -1; } \
    if (code == 0) return call_whole; \
    ssize_t n_half = call_half; after_half(); return n_half; } while (0)

ssize_t write(int handle, const void *bytes, size_t n) {
    WRITE(REAL(write)(handle, bytes, n), REAL(write)(handle, bytes, n / 2), handle);
}
ssize_t pwrite(int handle, const void *bytes, size_t n, off_t at) {
    WRITE(REAL(pwrite)(handle, bytes, n, at), REAL(pwrite)(handle, bytes, n / 2, at), handle);
}
ssize_t pwrite64(int handle, const void *bytes, size_t n, off64_t at) {
    WRITE(REAL(pwrite64)(handle, bytes, n, at), REAL(pwrite64)(handle, bytes, n / 2, at), handle);
}
ssize_t writev(int handle, const struct iovec *parts, int n) {
    WRITE(REAL(writev)(handle, parts, n), REAL(writev)(handle, parts, n / 2), handle);
}
ssize_t pwritev(int handle, const struct iovec *parts, int n, off_t at) {
    WRITE(REAL(pwritev)(handle, parts, n, at), REAL(pwritev)(handle, parts, n / 2, at), handle);
}
ssize_t pwritev64(int handle, const struct iovec *parts, int n, off64_t at) {
    WRITE(REAL(pwritev64)(handle, parts, n, at), REAL(pwritev64)(handle, parts, n / 2, at), handle);
}
ssize_t pwritev2(int handle, const struct iovec *parts, int n, off_t at, int flags) {
    WRITE(REAL(pwritev2)(handle, parts, n, at, flags),
          REAL(pwritev2)(handle, parts, n / 2, at, flags), handle);
}
ssize_t pwritev64v2(int handle, const struct iovec *parts, int n, off64_t at, int flags) {
    WRITE(REAL(pwritev64v2)(handle, parts, n, at, flags),
          REAL(pwritev64v2)(handle, parts, n / 2, at, flags), handle);
}
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags) {
    WRITE(REAL(copy_file_range)(from, from_at, to, to_at, n, flags),
          REAL(copy_file_range)(from, from_at, to, to_at, n / 2, flags), to);
}
ssize_t sendfile(int to, int from, off_t *at, size_t n);
ssize_t sendfile64(int to, int from, off64_t *at, size_t n);
ssize_t sendfile(int to, int from, off_t *at, size_t n) {
    WRITE(REAL(sendfile)(to, from, at, n), REAL(sendfile)(to, from, at, n / 2), to);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t n) {
    WRITE(REAL(sendfile64)(to, from, at, n), REAL(sendfile64)(to, from, at, n / 2), to);
}

/* Reading, of the slides or of a store that is resumed. */
ssize_t read(int handle, void *bytes, size_t n) {
    ON_HANDLE(handle, READS);
    return REAL(read)(handle, bytes, n);
}
ssize_t pread(int handle, void *bytes, size_t n, off_t at) {
    ON_HANDLE(handle, READS);
    return REAL(pread)(handle, bytes, n, at);
}
ssize_t pread64(int handle, void *bytes, size_t n, off64_t at) {
    ON_HANDLE(handle, READS);
    return REAL(pread64)(handle, bytes, n, at);
}
ssize_t preadv(int handle, const struct iovec *parts, int n, off_t at) {
    ON_HANDLE(handle, READS);
    return REAL(preadv)(handle, parts, n, at);
}
ssize_t preadv64(int handle, const struct iovec *parts, int n, off64_t at) {
    ON_HANDLE(handle, READS);
    return REAL(preadv64)(handle, parts, n, at);
}
ssize_t readv(int handle, const struct iovec *parts, int n) {
    ON_HANDLE(handle, READS);
    return REAL(readv)(handle, parts, n);
}

/* Flushing: what a kill leaves does not depend on it, so the harness may have it skipped, for
   speed; the order of flushes is what test_trace.py is about. */
int fsync(int handle) {
    ON_HANDLE(handle, NEEDS_ROOM);
    return control && control->armed && control->skips_sync ? 0 : REAL(fsync)(handle);
}
int fdatasync(int handle) {
    ON_HANDLE(handle, NEEDS_ROOM);
    return control && control->armed && control->skips_sync ? 0 : REAL(fdatasync)(handle);
}
/* Network file systems report a full disk when a file is closed. */
int close(int handle) {
    if (control && control->armed) {
        int flags = fcntl(handle, F_GETFL);
        int code = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY
            ? fault_of_handle("close", handle, NEEDS_NOTHING) : 0;
        if (code > 0) {
            REAL(close)(handle);
            errno = code;
            return -1;
        }
    }
    return REAL(close)(handle);
}

/* Names. */
int rename(const char *from, const char *to) {
    ON_PATH(AT_FDCWD, to, NEEDS_ROOM);
    return REAL(rename)(from, to);
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    ON_PATH(to_folder, to, NEEDS_ROOM);
    return REAL(renameat)(from_folder, from, to_folder, to);
}
int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    ON_PATH(to_folder, to, NEEDS_ROOM);
    return REAL(renameat2)(from_folder, from, to_folder, to, flags);
}
int link(const char *from, const char *to) {
    ON_PATH(AT_FDCWD, to, NEEDS_ROOM);
    return REAL(link)(from, to);
}
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    ON_PATH(to_folder, to, NEEDS_ROOM);
    return REAL(linkat)(from_folder, from, to_folder, to, flags);
}
int symlink(const char *target, const char *name) {
    ON_PATH(AT_FDCWD, name, NEEDS_ROOM);
    return REAL(symlink)(target, name);
}
int symlinkat(const char *target, int folder, const char *name) {
    ON_PATH(folder, name, NEEDS_ROOM);
    return REAL(symlinkat)(target, folder, name);
}
int mkdir(const char *name, mode_t mode) {
    ON_PATH(AT_FDCWD, name, NEEDS_ROOM);
    return REAL(mkdir)(name, mode);
}
int mkdirat(int folder, const char *name, mode_t mode) {
    ON_PATH(folder, name, NEEDS_ROOM);
    return REAL(mkdirat)(folder, name, mode);
}
int unlink(const char *name) {
    ON_PATH(AT_FDCWD, name, NEEDS_NOTHING);
    return REAL(unlink)(name);
}
int unlinkat(int folder, const char *name, int flags) {
    ON_PATH(folder, name, NEEDS_NOTHING);
    return REAL(unlinkat)(folder, name, flags);
}
int rmdir(const char *name) {
    ON_PATH(AT_FDCWD, name, NEEDS_NOTHING);
    return REAL(rmdir)(name);
}

/* Sizes. */
int ftruncate(int handle, off_t n) {
    ON_HANDLE(handle, NEEDS_ROOM);
    return REAL(ftruncate)(handle, n);
}
int ftruncate64(int handle, off64_t n) {
    ON_HANDLE(handle, NEEDS_ROOM);
    return REAL(ftruncate64)(handle, n);
}
int truncate(const char *name, off_t n) {
    ON_PATH(AT_FDCWD, name, NEEDS_ROOM);
    return REAL(truncate)(name, n);
}
int truncate64(const char *name, off64_t n) {
    ON_PATH(AT_FDCWD, name, NEEDS_ROOM);
    return REAL(truncate64)(name, n);
}
int posix_fallocate64(int handle, off64_t at, off64_t n) {
    int code = fault_of_handle(__func__, handle, NEEDS_ROOM);
    return code > 0 ? code : REAL(posix_fallocate64)(handle, at, n);
}
int fallocate(int handle, int mode, off_t at, off_t n) {
    ON_HANDLE(handle, NEEDS_ROOM);
    return REAL(fallocate)(handle, mode, at, n);
}
int fallocate64(int handle, int mode, off64_t at, off64_t n) {
    ON_HANDLE(handle, NEEDS_ROOM);
    return REAL(fallocate64)(handle, mode, at, n);
}
