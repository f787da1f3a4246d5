// The C interface between the host and QuickJS: one context, a register, an API object.
//
// The host calls the exported functions below; arguments and results lie in linear memory. The
// engine calls one imported function, `host_call`, with bytes, and gets bytes. Nothing else crosses.
//
// A packed value is a tag and what follows it: 'n' null, 't' true, 'f' false, 'd' and eight bytes of
// a double, 's' and a length (u32) and so many bytes of UTF-8, 'r' the register.

#include "heap.h"
#include "host.h"
#include "quickjs.h"

#include <stdbool.h>
#include <stdint.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(#name))) name

// Recursion ends as RangeError where this much of the shadow stack is in use. The machine's stack,
// which the engine cannot see, grows with it: see patches/0001-stack.patch.
#ifndef STACK_BYTES
#define STACK_BYTES (416 * 1024)
#endif

// A collection marks objects all over the heap, and so makes every page of it differ from the image.
// A run that allocates less than this never pays for that.
#define GC_BYTES (8u << 20)

#define MAX_ARGUMENTS 8

enum { STRING, NOTHING, THROWN, NUMBER, TRUE, FALSE };

static JSRuntime *rt;
static JSContext *ctx;
static JSValue reg, api;
static const char *text;        // the last result, as the engine's own string
static struct {
    const char *bytes;
    uint32_t length;
    double number;
    uint32_t exhausted;         // memory was refused, whoever caught the error
    uint32_t peak;              // the most memory that was in use since `limit`
} result;

// --- results ----------------------------------------------------------------------------------

static void release_text(void) {
    if (text)
        JS_FreeCString(ctx, text);
    text = NULL;
}

static int give(const char *bytes, size_t length, int kind) {
    result.bytes = bytes;
    result.length = length;
    result.exhausted = heap_exhausted();
    result.peak = heap_peak();
    return kind;
}

static int give_thrown(void) {
    static const char unreadable[] = "a value that cannot be read";
    JSValue error = JS_GetException(ctx);
    size_t length;
    text = JS_ToCStringLen(ctx, &length, error);
    JS_FreeValue(ctx, error);
    if (text)
        return give(text, length, THROWN);
    JS_FreeValue(ctx, JS_GetException(ctx));
    return give(unreadable, sizeof unreadable - 1, THROWN);
}

static int give_value(JSValue value) {
    release_text();
    if (JS_IsException(value))
        return give_thrown();
    int kind = NOTHING;
    size_t length = 0;
    if (JS_IsNumber(value)) {
        JS_ToFloat64(ctx, &result.number, value);
        kind = NUMBER;
    } else if (JS_IsBool(value)) {
        kind = JS_ToBool(ctx, value) ? TRUE : FALSE;
    } else if (!JS_IsNull(value) && !JS_IsUndefined(value)) {
        text = JS_ToCStringLen(ctx, &length, value);
        kind = STRING;
    }
    JS_FreeValue(ctx, value);
    return kind == STRING && !text ? give_thrown() : give(text, length, kind);
}

// --- arguments --------------------------------------------------------------------------------

static JSValue unpack(const char **at) {
    const char *p = *at;
    char tag = *p++;
    JSValue value = JS_NULL;
    if (tag == 's') {
        uint32_t length;
        memcpy(&length, p, sizeof length);
        value = JS_NewStringLen(ctx, p + sizeof length, length);
        p += sizeof length + length;
    } else if (tag == 'd') {
        double number;
        memcpy(&number, p, sizeof number);
        value = JS_NewFloat64(ctx, number);
        p += sizeof number;
    } else if (tag == 'r') {
        value = JS_DupValue(ctx, reg);
    } else if (tag != 'n') {
        value = JS_NewBool(ctx, tag == 't');
    }
    *at = p;
    return value;
}

// The results of unpacking up to `end`; returns their number, or -1 where one cannot be made.
static int unpack_all(const char *p, const char *end, JSValue *values) {
    int count = 0;
    while (p < end && count < MAX_ARGUMENTS) {
        values[count] = unpack(&p);
        if (JS_IsException(values[count++]))
            return -1;
    }
    return count;
}

static JSValue call(JSValueConst function, JSValueConst self, const char *p, const char *end) {
    JSValue values[MAX_ARGUMENTS];
    for (int i = 0; i < MAX_ARGUMENTS; i++)
        values[i] = JS_UNDEFINED;
    int count = unpack_all(p, end, values);
    JSValue returned = count < 0 ? JS_EXCEPTION : JS_Call(ctx, function, self, count, values);
    for (int i = 0; i < MAX_ARGUMENTS; i++)
        JS_FreeValue(ctx, values[i]);
    return returned;
}

// --- what a script can reach of the host -----------------------------------------------------

static JSValue host_number(JSContext *c, JSValueConst self, int argc, JSValueConst *argv, int magic) {
    double number = 0;
    host_call(magic, NULL, 0, &number);
    return JS_NewFloat64(c, number);
}

// Three strings: level, source, and the text as JSON, each with its length before it.
static JSValue host_log(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
    const char *strings[3] = {0};
    size_t lengths[3], total = 0;
    char *message = NULL;
    for (int i = 0; i < 3; i++) {
        strings[i] = JS_ToCStringLen(c, &lengths[i], argv[i]);
        if (!strings[i])
            goto done;
        total += sizeof(uint32_t) + lengths[i];
    }
    message = js_malloc(c, total);
    if (!message)
        goto done;
    char *p = message;
    for (int i = 0; i < 3; i++) {
        uint32_t length = lengths[i];
        memcpy(p, &length, sizeof length);
        memcpy(p + sizeof length, strings[i], length);
        p += sizeof length + length;
    }
    host_call(HOST_LOG, message, total, NULL);
done:
    for (int i = 0; i < 3; i++)
        if (strings[i])
            JS_FreeCString(c, strings[i]);
    if (!message)
        return JS_EXCEPTION;
    js_free(c, message);
    return JS_UNDEFINED;
}

static JSValue new_host(void) {
    JSValue host = JS_NewObject(ctx);
    JS_SetPropertyStr(ctx, host, "log", JS_NewCFunction(ctx, host_log, "log", 3));
    JS_SetPropertyStr(ctx, host, "now",
                      JS_NewCFunctionMagic(ctx, host_number, "now", 0, JS_CFUNC_generic_magic, HOST_MONOTONIC_MS));
    JS_SetPropertyStr(ctx, host, "date",
                      JS_NewCFunctionMagic(ctx, host_number, "date", 0, JS_CFUNC_generic_magic, HOST_DATE_MS));
    return host;
}

// --- promises that were rejected and that nobody handles (yet) ---------------------------------

typedef struct Rejection {
    struct Rejection *next;
    void *promise;
    JSValue reason;
} Rejection;

static Rejection *first_rejection;

static void forget(Rejection **link) {
    Rejection *r = *link;
    *link = r->next;
    JS_FreeValue(ctx, r->reason);
    free(r);
}

static void track(JSContext *c, JSValueConst promise, JSValueConst reason, bool handled, void *unused) {
    void *key = JS_VALUE_GET_PTR(promise);
    Rejection **link = &first_rejection;
    while (*link && (*link)->promise != key)
        link = &(*link)->next;
    if (*link && handled) {
        forget(link);
    } else if (!handled) {
        Rejection *r = *link;
        if (!r) {
            r = malloc(sizeof *r);
            if (!r)
                return;
            *r = (Rejection){.promise = key, .reason = JS_UNDEFINED};
            *link = r;
        }
        // As text, and now: the job may change the object before anyone asks.
        const char *string = JS_ToCString(c, reason);
        if (!string)
            JS_FreeValue(c, JS_GetException(c));
        r->reason = JS_NewString(c, string ? string : "a value that cannot be read");
        if (string)
            JS_FreeCString(c, string);
    }
}

// --- the runtime ------------------------------------------------------------------------------

static void *allocate_zeroed(void *opaque, size_t count, size_t size) { return calloc(count, size); }
static void *allocate(void *opaque, size_t size) { return malloc(size); }
static void release(void *opaque, void *p) { free(p); }
static void *reallocate(void *opaque, void *p, size_t size) { return realloc(p, size); }
static size_t usable(const void *p) { return malloc_usable_size((void *)p); }

// Memory that was refused ends the run, also where the job catches the error.
static int must_stop(JSRuntime *runtime, void *opaque) { return heap_exhausted(); }

static void enter(void) { JS_UpdateStackTop(rt); }

void EXPORT(boot)(void) {
    static const JSMallocFunctions functions = {allocate_zeroed, allocate, release, reallocate, usable};
    rt = JS_NewRuntime2(&functions, NULL);
    ctx = JS_NewContext(rt);
    reg = api = JS_UNDEFINED;
    JS_SetMaxStackSize(rt, STACK_BYTES);
    JS_SetInterruptHandler(rt, must_stop, NULL);
    JS_SetHostPromiseRejectionTracker(rt, track, NULL);
}

// End recursion where so much of the shadow stack is in use: for a host that has set another one.
void EXPORT(limit_stack)(size_t bytes) { JS_SetMaxStackSize(rt, bytes); }

// Memory for arguments, which the host fills and gives back.
void *EXPORT(reserve)(size_t size) { return malloc(size); }
void EXPORT(discard)(void *p) { free(p); }
void *EXPORT(result_address)(void) { return &result; }

// Evaluate a script into the register, under a file name; a thrown value goes there as well.
int EXPORT(evaluate)(const char *source, size_t length, const char *file) {
    enter();
    release_text();
    JSValue value = JS_Eval(ctx, source, length, file, JS_EVAL_TYPE_GLOBAL);
    bool thrown = JS_IsException(value);
    JS_FreeValue(ctx, reg);
    reg = thrown ? JS_GetException(ctx) : value;
    return give(NULL, 0, thrown ? THROWN : NOTHING);
}

// Parse a source without running it, as a module or as a script; an error goes into the register.
int EXPORT(parse)(const char *source, size_t length, int is_module) {
    enter();
    release_text();
    int type = is_module ? JS_EVAL_TYPE_MODULE : JS_EVAL_TYPE_GLOBAL;
    JSValue value = JS_Eval(ctx, source, length, "source", type | JS_EVAL_FLAG_COMPILE_ONLY);
    bool thrown = JS_IsException(value);
    JS_FreeValue(ctx, reg);
    // A module that was parsed stays with the context, which frees it.
    reg = thrown ? JS_GetException(ctx) : is_module ? JS_UNDEFINED : value;
    return give(NULL, 0, thrown ? THROWN : NOTHING);
}

// A property of the register, by its packed name.
int EXPORT(read_property)(const char *p, size_t length) {
    enter();
    JSValue name = unpack(&p);
    JSAtom atom = JS_ValueToAtom(ctx, name);
    JSValue value = JS_GetProperty(ctx, reg, atom);
    JS_FreeAtom(ctx, atom);
    JS_FreeValue(ctx, name);
    return give_value(value);
}

// The register as a value.
int EXPORT(read_register)(void) {
    enter();
    return give_value(JS_DupValue(ctx, reg));
}

// Call the function in the register with the host's functions; what it returns is the API object.
int EXPORT(open_api)(void) {
    enter();
    JSValue host = new_host();
    JSValue opened = JS_Call(ctx, reg, JS_UNDEFINED, 1, &host);
    JS_FreeValue(ctx, host);
    if (JS_IsException(opened))
        return give_value(opened);
    JS_FreeValue(ctx, api);
    api = opened;
    return give(NULL, 0, NOTHING);
}

static JSValue call_method(const char *name, const char *p, const char *end) {
    JSValue method = JS_GetPropertyStr(ctx, api, name);
    JSValue returned = call(method, api, p, end);
    JS_FreeValue(ctx, method);
    return returned;
}

// Call a method of the API object: its name, then its arguments, all packed.
int EXPORT(call_api)(const char *p, size_t length) {
    enter();
    const char *end = p + length;
    JSValue name = unpack(&p);
    const char *string = JS_IsException(name) ? NULL : JS_ToCString(ctx, name);
    JS_FreeValue(ctx, name);
    if (!string)
        return give_value(JS_EXCEPTION);
    JSValue returned = call_method(string, p, end);
    JS_FreeCString(ctx, string);
    return give_value(returned);
}

// Move the register into a property of an object that a method of the API object returned before.
int EXPORT(store_register)(const char *p, size_t length) {
    enter();
    JSValue name = unpack(&p), method = JS_GetPropertyStr(ctx, api, "slot");
    JSValue slot = JS_Call(ctx, method, api, 0, NULL);
    JSAtom atom = JS_ValueToAtom(ctx, name);
    int stored = JS_SetProperty(ctx, slot, atom, JS_DupValue(ctx, reg));
    JS_FreeAtom(ctx, atom);
    JS_FreeValue(ctx, name);
    JS_FreeValue(ctx, method);
    JS_FreeValue(ctx, slot);
    return give_value(stored < 0 ? JS_EXCEPTION : JS_UNDEFINED);
}

static JSValue run_microtasks(void) {
    JSContext *c;
    int status;
    do {
        status = JS_ExecutePendingJob(rt, &c);
    } while (status > 0 && !heap_exhausted());
    return status < 0 ? JS_EXCEPTION : JS_UNDEFINED;
}

// Run every microtask, those that they add included.
int EXPORT(drain)(void) {
    enter();
    return give_value(run_microtasks());
}

// Begin a step and run its microtasks: in one call what most steps need. The result is that of the
// API's method `completed`, or nothing where a promise was rejected; then the host looks closer.
int EXPORT(step)(const char *p, size_t length) {
    enter();
    JSValue begun = call_method("begin", p, p + length);
    if (JS_IsException(begun))
        return give_value(begun);
    JS_FreeValue(ctx, begun);
    JSValue ran = run_microtasks();
    if (JS_IsException(ran) || first_rejection)
        return give_value(ran);
    return give_value(call_method("completed", p, p));
}

// Forget what scripts have started: their microtasks never run, their rejections count as handled.
int EXPORT(drop_pending)(void) {
    enter();
    JS_DropPendingJobs(rt);
    while (first_rejection)
        forget(&first_rejection);
    return give_value(JS_UNDEFINED);
}

// The text of the first rejection that nobody handled; all are forgotten.
int EXPORT(take_rejection)(void) {
    enter();
    JSValue reason = first_rejection ? JS_DupValue(ctx, first_rejection->reason) : JS_UNDEFINED;
    while (first_rejection)
        forget(&first_rejection);
    return give_value(reason);
}

void EXPORT(collect)(void) {
    enter();
    release_text();
    JS_RunGC(rt);
}

// Begin to count, and return what is in use now: that is the image's, what comes on top the run's.
size_t EXPORT(limit)(size_t bytes) {
    heap_begin(bytes);
    JS_SetGCThreshold(rt, heap_used() + GC_BYTES);
    return heap_used();
}

size_t EXPORT(memory_used)(void) { return heap_used(); }
size_t EXPORT(memory_peak)(void) { return heap_peak(); }
int EXPORT(memory_exhausted)(void) { return heap_exhausted(); }
