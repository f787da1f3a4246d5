// The system calls that the libc knows, answered here, so that the module imports none of them.

#include "host.h"

#include <stdint.h>
#include <stdlib.h>
#include <wasi/api.h>

#define STUB(name, ...) int32_t __imported_wasi_snapshot_preview1_##name(__VA_ARGS__)

// Standard output has nowhere to go; there are no files, arguments and variables.
int close(int fd) { return -1; }
STUB(fd_fdstat_get, int32_t fd, int32_t stat) { return __WASI_ERRNO_BADF; }
STUB(fd_read, int32_t fd, int32_t vectors, int32_t count, int32_t got) { return __WASI_ERRNO_BADF; }
STUB(fd_seek, int32_t fd, int64_t offset, int32_t whence, int32_t at) { return __WASI_ERRNO_BADF; }
STUB(fd_write, int32_t fd, int32_t vectors, int32_t count, int32_t wrote) { return __WASI_ERRNO_BADF; }
STUB(environ_get, int32_t variables, int32_t bytes) { return 0; }

STUB(environ_sizes_get, int32_t count, int32_t size) {
    *(uint32_t *)(uintptr_t)count = *(uint32_t *)(uintptr_t)size = 0;
    return 0;
}

// Both clocks are the host's: those of the run, or ones that stand still while an image is made.
STUB(clock_time_get, int32_t clock, int64_t precision, int32_t time) {
    double ms = 0;
    host_call(clock == __WASI_CLOCKID_REALTIME ? HOST_DATE_MS : HOST_MONOTONIC_MS, NULL, 0, &ms);
    *(uint64_t *)(uintptr_t)time = (uint64_t)(ms * 1e6);
    return 0;
}

STUB(clock_res_get, int32_t clock, int32_t resolution) {
    *(uint64_t *)(uintptr_t)resolution = 1;
    return 0;
}

_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(int32_t code) { __builtin_trap(); }
