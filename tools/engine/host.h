#pragma once
#include <stddef.h>
#include <stdint.h>

enum { HOST_LOG, HOST_MONOTONIC_MS, HOST_DATE_MS };

// The one imported function: an operation and bytes go out; what the host replies is written to
// `reply`, and its length returned, or HOST_FAILED.
__attribute__((import_module("host"), import_name("call")))
extern uint32_t host_import(uint32_t operation, const void *bytes, size_t length, void *reply);

#define HOST_FAILED UINT32_MAX

static inline uint32_t host_call(uint32_t operation, const void *bytes, size_t length, void *reply) {
    uint32_t replied = host_import(operation, bytes, length, reply);
    // No script may go on where its host failed.
    if (replied == HOST_FAILED)
        __builtin_trap();
    return replied;
}
