// Stops a process at a step of its own: the nth time that it changes a file below a folder, by
// whatever library (SQLite's writes, too). Loaded by LD_PRELOAD; see stopping.py for the variables.
//
// A step is a line: `open`, `write`, `cut`, `sync` or `remove` and a path, or `rename` and two.

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <regex.h>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

namespace {

char root[PATH_MAX];          // the folder, without the slash at its end; empty: nothing counts
regex_t pattern;              // of the steps that count
long at = 0;                  // number of the step that stops it, from 1; 0: none does
int signal_number = SIGKILL;  // how
int told = -1;                // where all steps are told
std::atomic<long> seen{0};    // initialised before any code runs, like all of these

__attribute__((constructor)) void begin() {
    const char *folder = getenv("STOPPING_ROOT"), *of = getenv("STOPPING_OF");
    const char *number = getenv("STOPPING_AT"), *how = getenv("STOPPING_SIGNAL");
    const char *log = getenv("STOPPING_LOG");
    if (folder == nullptr || of == nullptr || number == nullptr || how == nullptr) return;
    if (regcomp(&pattern, of, REG_EXTENDED | REG_NOSUB) != 0) _exit(125);
    at = atol(number);
    signal_number = atoi(how);
    const int flags = O_WRONLY | O_CREAT | O_APPEND;
    if (log != nullptr) told = static_cast<int>(syscall(SYS_openat, AT_FDCWD, log, flags, 0600));
    for (const char *name : {"LD_PRELOAD", "STOPPING_ROOT", "STOPPING_OF", "STOPPING_AT",
                             "STOPPING_SIGNAL", "STOPPING_LOG"})
        unsetenv(name);  // processes of this one are not counted
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a stopped one would outlive a test that fails
    snprintf(root, sizeof root, "%s", folder);
}

bool counts(const char *path) {
    const size_t length = strlen(root);
    return strncmp(path, root, length) == 0 && path[length] == '/';
}

void step(const std::string &line) {
    if (told >= 0) {
        const std::string whole = line + "\n";
        syscall(SYS_write, told, whole.data(), whole.size());
    }
    if (at > 0 && regexec(&pattern, line.c_str(), 0, nullptr, 0) == 0 && ++seen == at)
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal_number);  // before it is done
}

std::string path_of(int file) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    return length < 0 ? std::string() : std::string(path, static_cast<size_t>(length));
}

void on_file(const char *what, int file) {
    if (root[0] == 0) return;
    const int before = errno;
    const std::string path = path_of(file);
    if (counts(path.c_str())) step(std::string(what) + " " + path);
    errno = before;
}

void on_path(const char *what, const char *path, const char *other = nullptr) {
    if (root[0] == 0 || !(counts(path) || (other != nullptr && counts(other)))) return;
    step(std::string(what) + " " + path + (other != nullptr ? std::string(" ") + other : ""));
}

template <typename F> F *next(const char *name) {
    return reinterpret_cast<F *>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#define NEXT(name) static auto *const real = next<decltype(name)>(#name)

extern "C" {

ssize_t write(int file, const void *data, size_t size) {
    NEXT(write);
    on_file("write", file);
    return real(file, data, size);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t where) {
    NEXT(pwrite);
    on_file("write", file);
    return real(file, data, size, where);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t where) {
    NEXT(pwrite64);
    on_file("write", file);
    return real(file, data, size, where);
}
int ftruncate(int file, off_t size) noexcept {
    NEXT(ftruncate);
    on_file("cut", file);
    return real(file, size);
}
int ftruncate64(int file, off64_t size) noexcept {
    NEXT(ftruncate64);
    on_file("cut", file);
    return real(file, size);
}
int fsync(int file) {
    NEXT(fsync);
    on_file("sync", file);
    return real(file);
}
int fdatasync(int file) {
    NEXT(fdatasync);
    on_file("sync", file);
    return real(file);
}
int rename(const char *from, const char *to) noexcept {
    NEXT(rename);
    on_path("rename", from, to);
    return real(from, to);
}
int unlink(const char *path) noexcept {
    NEXT(unlink);
    on_path("remove", path);
    return real(path);
}
int open(const char *path, int flags, ...) {
    NEXT(open);
    va_list more;
    va_start(more, flags);
    const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
    va_end(more);
    if ((flags & O_ACCMODE) != O_RDONLY) on_path("open", path);
    return real(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    NEXT(open64);
    va_list more;
    va_start(more, flags);
    const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
    va_end(more);
    if ((flags & O_ACCMODE) != O_RDONLY) on_path("open", path);
    return real(path, flags, mode);
}
}
