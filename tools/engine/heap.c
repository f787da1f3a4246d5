// The heap of the engine: two-level segregated fit (TLSF) with boundary tags over linear memory.
//
// It replaces the libc's allocator for three reasons. Its count is exact, so a limit in bytes means
// what it says, buffers included. Sizes are not rounded up to powers of two, so a run at its limit
// uses little more than its limit. And its only state is in linear memory: the break is a variable
// here, not the size of the memory, so an instance whose memory was restored allocates exactly like
// a new one, even if its memory had grown in between.

#include "heap.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PAGE 65536u
#define STEP (1u << 20)         // memory grows by this much at a time, as each growth is a system call
#define HEADER sizeof(Block)
#define MIN_PAYLOAD 8u          // a free block holds two links
#define FREE 1u
#define SUB_BITS 4
#define SUBS (1 << SUB_BITS)
#define LEVELS (32 - SUB_BITS)

typedef struct Block {
    uint32_t before;            // payload size of the block that lies before, 0 for the first
    uint32_t size;              // payload size, a multiple of 8; bit 0: the block is free
} Block;

typedef struct Links {
    Block *next, *previous;
} Links;

extern uint8_t __heap_base;

static Block *bins[LEVELS][SUBS];
static uint32_t level_map, sub_maps[LEVELS];
static uint8_t *top;            // where the wilderness begins
static uint32_t top_before;     // payload size of the last block before it
static uint8_t *fresh;          // from here on nothing was ever written: it is zero
static size_t used, peak, limit = SIZE_MAX;
static int exhausted;

static Links *links(Block *b) { return (Links *)(b + 1); }
static uint32_t size_of(const Block *b) { return b->size & ~7u; }
static bool is_free(const Block *b) { return b->size & FREE; }
static Block *block_of(void *p) { return (Block *)p - 1; }
static Block *after(Block *b) { return (Block *)((uint8_t *)(b + 1) + size_of(b)); }
static Block *before(Block *b) { return (Block *)((uint8_t *)b - b->before) - 1; }
static bool is_last(Block *b) { return (uint8_t *)after(b) == top; }

static void locate(uint32_t size, int *level, int *sub) {
    if (size < SUBS * 8) {
        *level = 0;
        *sub = size / 8;
    } else {
        int log = 31 - __builtin_clz(size);
        *level = log - (SUB_BITS + 2);
        *sub = (size >> (log - SUB_BITS)) & (SUBS - 1);
    }
}

static void insert(Block *b) {
    int level, sub;
    locate(size_of(b), &level, &sub);
    Block *first = bins[level][sub];
    *links(b) = (Links){.next = first, .previous = NULL};
    if (first)
        links(first)->previous = b;
    bins[level][sub] = b;
    level_map |= 1u << level;
    sub_maps[level] |= 1u << sub;
    b->size |= FREE;
}

static void take_out(Block *b) {
    int level, sub;
    locate(size_of(b), &level, &sub);
    Links *l = links(b);
    if (l->next)
        links(l->next)->previous = l->previous;
    if (l->previous) {
        links(l->previous)->next = l->next;
    } else if (!(bins[level][sub] = l->next)) {
        sub_maps[level] &= ~(1u << sub);
        if (!sub_maps[level])
            level_map &= ~(1u << level);
    }
    b->size &= ~FREE;
}

// A free block of at least this size, or NULL. The size is rounded up to the next class: each block
// of that class fits, so nothing is searched. The first block of the size's own class is looked at
// before, as the engine frees and takes the same few sizes again and again.
static Block *fitting(uint32_t size) {
    int level, sub;
    locate(size, &level, &sub);
    Block *own = bins[level][sub];
    if (own && size_of(own) >= size)
        return own;
    if (size >= SUBS * 8)
        size += (1u << (31 - __builtin_clz(size) - SUB_BITS)) - 1;
    locate(size, &level, &sub);
    uint32_t map = sub_maps[level] & (~0u << sub);
    if (!map) {
        uint32_t above = level + 1 < 32 ? level_map & (~0u << (level + 1)) : 0;
        if (!above)
            return NULL;
        level = __builtin_ctz(above);
        map = sub_maps[level];
    }
    return bins[level][__builtin_ctz(map)];
}

static void set_before_of_next(Block *b) {
    if (is_last(b))
        top_before = size_of(b);
    else
        after(b)->before = size_of(b);
}

// Give back what a used block has beyond this size.
static void trim(Block *b, uint32_t size) {
    uint32_t rest = size_of(b) - size;
    if (rest < HEADER + MIN_PAYLOAD)
        return;
    if (is_last(b)) {
        b->size = size;
        top = (uint8_t *)(b + 1) + size;
        top_before = size;
        return;
    }
    b->size = size;
    Block *tail = after(b);
    tail->before = size;
    tail->size = rest - HEADER;
    Block *next = after(tail);
    if (is_free(next)) {
        take_out(next);
        tail->size += HEADER + size_of(next);
    }
    set_before_of_next(tail);
    insert(tail);
}

// Memory up to this address, or false where the host refuses it.
static bool reach(uint64_t end) {
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * PAGE;
    if (end <= have)
        return true;
    if (end > UINT32_MAX - PAGE)
        return false;
    size_t pages = (end - have + PAGE - 1) / PAGE, step = STEP / PAGE;
    if (pages < step && __builtin_wasm_memory_grow(0, step) != SIZE_MAX)
        return true;
    return __builtin_wasm_memory_grow(0, pages) != SIZE_MAX;
}

static void move_top(uint8_t *to) {
    top = to;
    if (fresh < top)
        fresh = top;
}

static void account(size_t more, size_t less) {
    used += more;
    used -= less;
    if (peak < used)
        peak = used;
}

static bool allowed(size_t more) {
    if (more < limit && used <= limit - more)
        return true;
    exhausted = 1;
    return false;
}

static void *refuse(void) {
    exhausted = 1;
    return NULL;
}

static uint32_t rounded(size_t size) {
    return size < MIN_PAYLOAD ? MIN_PAYLOAD : (uint32_t)((size + 7) & ~(size_t)7);
}

void *malloc(size_t size) {
    if (size > INT32_MAX)
        return refuse();
    uint32_t payload = rounded(size);
    if (!allowed(payload + HEADER))
        return NULL;
    if (!top)
        top = fresh = (uint8_t *)(((uintptr_t)&__heap_base + 7) & ~(uintptr_t)7);
    Block *b = fitting(payload);
    if (b) {
        take_out(b);
        trim(b, payload);
    } else {
        if (!reach((uint64_t)(uintptr_t)top + HEADER + payload))
            return refuse();
        b = (Block *)top;
        *b = (Block){.before = top_before, .size = payload};
        top_before = payload;
        move_top((uint8_t *)(b + 1) + payload);
    }
    account(size_of(b) + HEADER, 0);
    return b + 1;
}

void free(void *p) {
    if (!p)
        return;
    Block *b = block_of(p);
    account(0, size_of(b) + HEADER);
    if (!is_last(b) && is_free(after(b))) {
        Block *next = after(b);
        take_out(next);
        b->size += HEADER + size_of(next);
    }
    if (b->before && is_free(before(b))) {
        Block *previous = before(b);
        take_out(previous);
        previous->size += HEADER + size_of(b);
        b = previous;
    }
    if (is_last(b)) {
        top = (uint8_t *)b;
        top_before = b->before;
    } else {
        after(b)->before = size_of(b);
        insert(b);
    }
}

void *calloc(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return refuse();
    uint8_t *untouched = fresh;
    uint8_t *p = malloc(bytes);
    // Memory that was never written is zero, and writing zeros would only make it resident.
    if (p && untouched && p < untouched)
        memset(p, 0, bytes < (size_t)(untouched - p) ? bytes : (size_t)(untouched - p));
    return p;
}

// Make a block larger where it lies, if there is room behind it.
static bool extend(Block *b, uint32_t payload) {
    uint32_t old = size_of(b);
    if (is_last(b)) {
        if (!reach((uint64_t)(uintptr_t)(b + 1) + payload))
            return false;
        b->size = top_before = payload;
        move_top((uint8_t *)(b + 1) + payload);
    } else {
        Block *next = after(b);
        if (!is_free(next) || old + HEADER + size_of(next) < payload)
            return false;
        take_out(next);
        b->size = old + HEADER + size_of(next);
        set_before_of_next(b);
        trim(b, payload);
    }
    account(size_of(b), old);
    return true;
}

void *realloc(void *p, size_t size) {
    if (!p)
        return malloc(size);
    if (size > INT32_MAX)
        return refuse();
    Block *b = block_of(p);
    uint32_t old = size_of(b), payload = rounded(size);
    if (payload <= old) {
        trim(b, payload);
        account(size_of(b), old);
        return p;
    }
    if (!allowed(payload - old))
        return NULL;
    if (extend(b, payload))
        return p;
    void *q = malloc(size);
    if (!q)
        return NULL;
    memcpy(q, p, old);
    free(p);
    return q;
}

size_t malloc_usable_size(void *p) { return p ? size_of(block_of(p)) : 0; }

size_t heap_used(void) { return used; }
size_t heap_peak(void) { return peak; }
void heap_begin(size_t bytes) {
    limit = bytes > SIZE_MAX - used ? SIZE_MAX : used + bytes;
    peak = used;
    exhausted = 0;
}
int heap_exhausted(void) { return exhausted; }
void heap_exhaust(void) { exhausted = 1; }
