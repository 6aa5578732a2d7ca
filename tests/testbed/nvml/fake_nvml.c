/* Copyright: the gpufleet.k8s authors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A stand-in for libnvidia-ml.so.1 on machines without a GPU. See README.md for what it refuses, what is not known from hardware,
 * and for the files in $FAKE_NVML_DIR that drive it.
 *
 * Every entry point goes through API(): count the call, take the lock, apply injected faults, answer, write the trace.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boards.h"

typedef int nvmlReturn_t;
enum {
    OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, RESET_REQUIRED = 16, IN_USE = 19, INSUFFICIENT_RESOURCES = 23,
    ARGUMENT_VERSION_MISMATCH = 25, UNKNOWN = 999,
};

/* ---- structures of nvml.h; sizes are checked below because callers pass them ---- */
typedef struct { unsigned start, size; } placement_t;
typedef struct { char legacy[16]; unsigned domain, bus, device, pciDeviceId, pciSubSystemId; char busId[32]; } pci_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned id, p2p, slices, count, sm, copy, decoder, encoder, jpeg, ofa; unsigned long long memory; } gi_profile_v1_t;
typedef struct {
    unsigned version, id, p2p, slices, count, sm, copy, decoder, encoder, jpeg, ofa; unsigned long long memory; char name[96];
} gi_profile_v2_t;
typedef struct {
    unsigned version, id, slices, count, sm, copy, decoder, encoder, jpeg, ofa; unsigned long long memory; char name[96]; unsigned caps;
} gi_profile_v3_t;
typedef struct { unsigned id, slices, count, sm, copy, decoder, encoder, jpeg, ofa; } ci_profile_v1_t;
typedef struct { unsigned version, id, slices, count, sm, copy, decoder, encoder, jpeg, ofa; char name[96]; } ci_profile_v2_t;
typedef struct { unsigned version, id, slices, count, sm, copy, decoder, encoder, jpeg, ofa; char name[96]; unsigned caps; } ci_profile_v3_t;
typedef struct { uint64_t device; unsigned id, profile; placement_t placement; } gi_info_t;
typedef struct { uint64_t device, gi; unsigned id, profile; placement_t placement; } ci_info_t;
typedef struct { unsigned pid; unsigned long long memory; unsigned gi, ci; } process_t;
typedef struct { unsigned sm, copy, decoder, encoder, jpeg, ofa, gi_slices, ci_slices; unsigned long long memory; } attributes_t;
typedef struct { uint64_t device; unsigned long long type, data; unsigned gi, ci; } event_t;
_Static_assert(sizeof(pci_t) == 68 && sizeof(memory_v2_t) == 40 && sizeof(gi_profile_v1_t) == 48 && sizeof(gi_profile_v2_t) == 152, "");
_Static_assert(sizeof(gi_profile_v3_t) == 152 && sizeof(ci_profile_v1_t) == 36 && sizeof(ci_profile_v2_t) == 136, "");
_Static_assert(sizeof(ci_profile_v3_t) == 140 && sizeof(gi_info_t) == 24 && sizeof(ci_info_t) == 32 && sizeof(attributes_t) == 40, "");
_Static_assert(sizeof(process_t) == 24 && sizeof(event_t) == 32, "");
#define VERSION(type, n) ((unsigned)sizeof(type) | (n) << 24)

/* ---- state, shared by all processes ---- */
#define GPUS 16
#define INSTANCES 8
struct ci { unsigned used, generation, id, slices, start; };
struct gi { unsigned used, generation, id, start; int kind; struct ci ci[INSTANCES]; };
struct gpu { unsigned board, mig, pending; struct gi gi[INSTANCES]; };
struct state { unsigned gpus, generation; struct gpu gpu[GPUS]; };

static struct state *state;
static int state_fd = -1, references, calls;

static const char *directory(void)
{
    const char *path = getenv("FAKE_NVML_DIR");
    return path && *path ? path : "/var/lib/fake-nvml";
}

static FILE *open_in(const char *name, const char *mode)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory(), name);
    return fopen(path, mode);
}

/* Maps the state; the first process makes it from the file `gpus` (one board key a line). */
static int attach(void)
{
    if (state)
        return OK;
    char path[512];
    snprintf(path, sizeof path, "%s/state", directory());
    mode_t mask = umask(0);
    state_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    umask(mask);
    if (state_fd < 0)
        return DRIVER_NOT_LOADED;
    flock(state_fd, LOCK_EX);
    struct stat st;
    int fresh = fstat(state_fd, &st) || st.st_size != sizeof *state;
    void *map = fresh && ftruncate(state_fd, sizeof *state) ? MAP_FAILED
              : mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, state_fd, 0);
    state = map == MAP_FAILED ? NULL : map;
    FILE *file = state && fresh ? open_in("gpus", "r") : NULL;
    if (file) {
        char key[64];
        while (state->gpus < GPUS && fscanf(file, "%63s", key) == 1)
            for (unsigned b = 0; b < sizeof BOARDS / sizeof *BOARDS; b++)
                if (!strcmp(key, BOARDS[b].key))
                    state->gpu[state->gpus++].board = b;
        fclose(file);
    }
    flock(state_fd, LOCK_UN);
    return state ? OK : DRIVER_NOT_LOADED;
}

/* ---- faults: lines of $FAKE_NVML_FAULTS (';' ends one) or of the file `faults` ----
 * call N return CODE | call N late CODE | call N kill | call N latekill | call N hang | NAME return CODE | gpu I lost | smi refuse TEXT */
static char *fault_lines(void)
{
    static char text[4096];
    const char *from = getenv("FAKE_NVML_FAULTS");
    if (from) {
        snprintf(text, sizeof text, "%s", from);
    } else {
        FILE *file = open_in("faults", "r");
        text[file ? fread(text, 1, sizeof text - 1, file) : 0] = 0;
        if (file)
            fclose(file);
    }
    for (char *c = text; *c; c++)
        if (*c == ';')
            *c = '\n';
    return text;
}

static int lost(unsigned gpu)
{
    char wanted[32];
    snprintf(wanted, sizeof wanted, "gpu %u lost", gpu);
    return strstr(fault_lines(), wanted) != NULL;
}

/* The injected answer to call number `calls`, or -1. `late`: the call has already had its effect. */
static int fault(const char *name, int late)
{
    char *save = NULL;
    for (char *line = strtok_r(fault_lines(), "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        int n, code;
        char word[64], verb[16];
        if (sscanf(line, " call %d %15s", &n, verb) == 2 && n == calls) {
            if (!strcmp(verb, late ? "latekill" : "kill"))
                raise(SIGKILL);
            if (!late && !strcmp(verb, "hang"))
                for (;;)
                    pause();
            if (sscanf(line, " call %d %15s %d", &n, verb, &code) == 3 && !strcmp(verb, late ? "late" : "return"))
                return code;
        } else if (!late && sscanf(line, " %63s return %d", word, &code) == 2 && !strcmp(word, name)) {
            return code;
        }
    }
    return -1;
}

static nvmlReturn_t enter(const char *name)
{
    if (!references && !strstr(name, "Init"))
        return UNINITIALIZED;
    if (attach() != OK)
        return DRIVER_NOT_LOADED;
    calls++;
    int injected = fault(name, 0);
    if (injected >= 0)
        return injected;
    flock(state_fd, LOCK_EX);
    return OK;
}

static nvmlReturn_t leave(const char *name, nvmlReturn_t rc, int entered)
{
    if (entered) {
        flock(state_fd, LOCK_UN);
        int injected = fault(name, 1);
        if (injected >= 0)
            rc = injected;
    }
    const char *path = getenv("FAKE_NVML_TRACE");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%d %d %s %d\n", getpid(), calls, name, rc);
        fclose(file);
    }
    return rc;
}

#define API(name, params, args)                                                                                                    \
    static nvmlReturn_t do_##name params;                                                                                          \
    __attribute__((visibility("default"))) nvmlReturn_t name params                                                                \
    {                                                                                                                              \
        nvmlReturn_t rc = enter(#name);                                                                                            \
        return rc == OK ? leave(#name, do_##name args, 1) : leave(#name, rc, 0);                                                   \
    }                                                                                                                              \
    static nvmlReturn_t do_##name params

/* ---- handles: kind, gpu, GI slot, CI slot, generation. A destroyed instance's handle is refused, not mistaken. ---- */
enum { DEVICE = 1, MIG_DEVICE, GI, CI };
struct ref { struct gpu *gpu; struct gi *gi; struct ci *ci; unsigned index; };

static uint64_t handle(int type, unsigned gpu, unsigned gi, unsigned ci, unsigned generation)
{
    return (uint64_t)type << 56 | (uint64_t)gpu << 48 | (uint64_t)gi << 40 | (uint64_t)ci << 32 | generation;
}

static nvmlReturn_t resolve(uint64_t h, int type, struct ref *ref)
{
    unsigned gpu = h >> 48 & 255, gi = h >> 40 & 255, ci = h >> 32 & 255, generation = (unsigned)h;
    if ((int)(h >> 56) != type || gpu >= state->gpus || gi >= INSTANCES || ci >= INSTANCES)
        return INVALID_ARGUMENT;
    if (lost(gpu))
        return GPU_IS_LOST;
    *ref = (struct ref){&state->gpu[gpu], &state->gpu[gpu].gi[gi], &state->gpu[gpu].gi[gi].ci[ci], gpu};
    if (type == GI && !(ref->gi->used && ref->gi->generation == generation))
        return NOT_FOUND;
    if ((type == CI || type == MIG_DEVICE) && !(ref->gi->used && ref->ci->used && ref->ci->generation == generation))
        return NOT_FOUND;
    return OK;
}

/* Either sort of device handle. */
static nvmlReturn_t device(uint64_t h, struct ref *ref)
{
    int type = h >> 56 == MIG_DEVICE ? MIG_DEVICE : DEVICE;
    nvmlReturn_t rc = resolve(h, type, ref);
    if (type == DEVICE)
        ref->gi = NULL, ref->ci = NULL;
    return rc;
}

#define RESOLVE(h, type) struct ref r; { nvmlReturn_t rc_ = resolve(h, type, &r); if (rc_) return rc_; }
#define ANY_DEVICE(h) struct ref r; { nvmlReturn_t rc_ = device(h, &r); if (rc_) return rc_; }
#define ROOT() do { if (geteuid()) return NO_PERMISSION; } while (0)
#define MIG_ON() do { if (!r.gpu->mig) return NOT_SUPPORTED; } while (0)

static const struct board *board_of(const struct gpu *gpu) { return &BOARDS[gpu->board]; }
static const struct kind *kind_of(const struct gpu *gpu, const struct gi *gi) { return &board_of(gpu)->kinds[gi->kind]; }

static int find_kind(const struct gpu *gpu, unsigned number, int by_id)
{
    for (int n = 0; n < KINDS && board_of(gpu)->kinds[n].slices; n++)
        if (by_id ? board_of(gpu)->kinds[n].id == number : board_of(gpu)->kinds[n].profile == (int)number)
            return n;
    return -1;
}

/* Lines `GPU GI CI PID` of the file `busy` (-1: any). A dead process holds nothing. Returns how many match; fills up to `room`. */
static unsigned holders(unsigned gpu, int gi, int ci, process_t *out, unsigned room)
{
    FILE *file = open_in("busy", "r");
    int g, i, c, pid;
    unsigned n = 0;
    while (file && fscanf(file, "%d %d %d %d", &g, &i, &c, &pid) == 4)
        if (g == (int)gpu && (gi < 0 || i < 0 || i == gi) && (ci < 0 || c < 0 || c == ci) && !kill(pid, 0)) {
            if (n < room)
                out[n] = (process_t){(unsigned)pid, 1 << 20, i < 0 ? ~0u : (unsigned)i, c < 0 ? ~0u : (unsigned)c};
            n++;
        }
    if (file)
        fclose(file);
    return n;
}

static unsigned mask_at(unsigned start, unsigned size) { return ((1u << size) - 1) << start; }

static unsigned occupied(const struct gpu *gpu)
{
    unsigned mask = 0;
    for (int n = 0; n < INSTANCES; n++)
        if (gpu->gi[n].used)
            mask |= mask_at(gpu->gi[n].start, kind_of(gpu, &gpu->gi[n])->size);
    return mask;
}

/* Could one more of this kind be created, slots aside? */
static int resources_left(const struct gpu *gpu, const struct kind *kind)
{
    unsigned slices = kind->slices, decoder = kind->decoder, encoder = kind->encoder, jpeg = kind->jpeg, ofa = kind->ofa;
    unsigned all[5] = {0};
    for (int n = 0; n < KINDS && board_of(gpu)->kinds[n].slices; n++) {
        const struct kind *k = &board_of(gpu)->kinds[n];
        unsigned has[5] = {k->slices, k->decoder, k->encoder, k->jpeg, k->ofa};
        for (int e = 0; e < 5; e++)
            all[e] = has[e] > all[e] ? has[e] : all[e];
    }
    for (int n = 0; n < INSTANCES; n++)
        if (gpu->gi[n].used) {
            const struct kind *k = kind_of(gpu, &gpu->gi[n]);
            slices += k->slices, decoder += k->decoder, encoder += k->encoder, jpeg += k->jpeg, ofa += k->ofa;
        }
    return slices <= all[0] && decoder <= all[1] && encoder <= all[2] && jpeg <= all[3] && ofa <= all[4];
}

#define EACH_START(s, kind) for (int s = 0; s < STARTS && (kind)->starts[s] >= 0; s++)

static unsigned free_starts(const struct kind *kind, unsigned taken)
{
    unsigned n = 0;
    EACH_START(s, kind)
        n += !(taken & mask_at((unsigned)kind->starts[s], kind->size));
    return n;
}

/* The driver's own choice of a start: the one that leaves most room for others, ties to the low slot. A guess that reproduces
 * what NVIDIA documents: 9,19,14,19 works (3g at 4, 1g at 0 and 1, 2g at 2), 19,19,14,9 does not, 19,14,5 works in any order. */
static int choose_start(const struct gpu *gpu, const struct kind *kind)
{
    int best = -1;
    unsigned best_room = 0, taken = occupied(gpu);
    EACH_START(s, kind) {
        unsigned mask = mask_at((unsigned)kind->starts[s], kind->size), room = 1;
        if (taken & mask)
            continue;
        for (int n = 0; n < KINDS && board_of(gpu)->kinds[n].slices; n++)
            room += board_of(gpu)->kinds[n].slices * free_starts(&board_of(gpu)->kinds[n], taken | mask);
        if (room > best_room)
            best = kind->starts[s], best_room = room;
    }
    return best;
}

static unsigned instance_id(const struct gpu *gpu, const struct kind *kind, unsigned start)
{
    return (unsigned)board_of(gpu)->slots / kind->size - 1 + start / kind->size;
}

static nvmlReturn_t create_gi(struct ref r, unsigned profile_id, int start, uint64_t *out)
{
    ROOT();
    MIG_ON();
    int k = find_kind(r.gpu, profile_id, 1);
    if (k < 0)
        return NOT_SUPPORTED;
    const struct kind *kind = &board_of(r.gpu)->kinds[k];
    if (start >= 0) {
        int allowed = 0;
        EACH_START(s, kind)
            allowed |= kind->starts[s] == start;
        if (!allowed)
            return INVALID_ARGUMENT;
        if (occupied(r.gpu) & mask_at((unsigned)start, kind->size))
            return INSUFFICIENT_RESOURCES;
    } else if ((start = choose_start(r.gpu, kind)) < 0) {
        return INSUFFICIENT_RESOURCES;
    }
    if (!resources_left(r.gpu, kind))
        return INSUFFICIENT_RESOURCES;
    for (unsigned n = 0; n < INSTANCES; n++)
        if (!r.gpu->gi[n].used) {
            r.gpu->gi[n] = (struct gi){1, ++state->generation, instance_id(r.gpu, kind, (unsigned)start), (unsigned)start, k, {{0}}};
            *out = handle(GI, r.index, n, 0, state->generation);
            return OK;
        }
    return INSUFFICIENT_RESOURCES;
}

/* Compute instance sizes by NVML's enum; there is no 3c in a 4g. */
static unsigned ci_slices(unsigned profile, unsigned gi_slices)
{
    static const unsigned SIZES[] = {1, 2, 3, 4, 7};
    unsigned c = profile < 5 ? SIZES[profile] : 0;
    return c && c <= gi_slices && !(c == 3 && gi_slices == 4) && !(c == 4 && gi_slices < 4) ? c : 0;
}

static unsigned ci_profile(unsigned slices) { return slices == 7 ? 4 : slices - 1; }

/* A guess: multiples of its size; two of 3 slices in 7 at 0 and 4. */
static int ci_may_start(unsigned start, unsigned slices, unsigned gi_slices)
{
    return start + slices <= gi_slices && start % (slices == 3 && gi_slices == 7 ? 4 : slices) == 0;
}

static int ci_start(const struct gi *gi, unsigned slices, unsigned gi_slices, int wanted)
{
    unsigned taken = 0;
    for (int n = 0; n < INSTANCES; n++)
        if (gi->ci[n].used)
            taken |= mask_at(gi->ci[n].start, gi->ci[n].slices);
    for (int start = (int)(gi_slices - slices); start >= 0; start--)
        if (ci_may_start((unsigned)start, slices, gi_slices) && !(taken & mask_at((unsigned)start, slices)) && (wanted < 0 || wanted == start))
            return start;
    return -1;
}

static nvmlReturn_t create_ci(struct ref r, uint64_t gi_handle, unsigned profile, int wanted, uint64_t *out)
{
    ROOT();
    unsigned gi_slices = kind_of(r.gpu, r.gi)->slices, slices = ci_slices(profile, gi_slices);
    if (!slices)
        return NOT_SUPPORTED;
    if (wanted >= 0 && !ci_may_start((unsigned)wanted, slices, gi_slices))
        return INVALID_ARGUMENT;
    int start = ci_start(r.gi, slices, gi_slices, wanted);
    for (unsigned n = 0; start >= 0 && n < INSTANCES; n++)
        if (!r.gi->ci[n].used) {
            r.gi->ci[n] = (struct ci){1, ++state->generation, n, slices, (unsigned)start};
            *out = handle(CI, r.index, gi_handle >> 40 & 255, n, state->generation);
            return OK;
        }
    return INSUFFICIENT_RESOURCES;
}

/* ---- the library ---- */
static nvmlReturn_t start(void) { references++; return OK; }
API(nvmlInit_v2, (void), ()) { return start(); }
API(nvmlInitWithFlags, (unsigned flags), (flags)) { (void)flags; return start(); }
API(nvmlShutdown, (void), ()) { references--; return OK; }
API(nvmlSystemGetNVMLVersion, (char *out, unsigned n), (out, n)) { snprintf(out, n, "13.580.65"); return OK; }
API(nvmlSystemGetDriverVersion, (char *out, unsigned n), (out, n)) { snprintf(out, n, "580.65.06"); return OK; }
API(nvmlSystemGetCudaDriverVersion, (int *out), (out)) { *out = 13000; return OK; }
API(nvmlSystemGetCudaDriverVersion_v2, (int *out), (out)) { *out = 13000; return OK; }

__attribute__((visibility("default"))) const char *nvmlErrorString(nvmlReturn_t rc)
{
    switch (rc) {
    case OK: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case TIMEOUT: return "Timeout";
    case GPU_IS_LOST: return "GPU is lost";
    case RESET_REQUIRED: return "GPU requires reset";
    case IN_USE: return "In use by another client";
    case INSUFFICIENT_RESOURCES: return "Insufficient Resources";
    case ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

/* ---- devices ---- */
static void bus_id(unsigned gpu, char *out, size_t n) { snprintf(out, n, "00000000:%02X:00.0", 7 + 16 * gpu); }
static void gpu_uuid(unsigned gpu, char *out, size_t n) { snprintf(out, n, "GPU-fa6e0000-0000-4000-8000-%012x", gpu); }
static void mig_uuid(const struct ref *r, char *out, size_t n)
{
    snprintf(out, n, "MIG-fa6e0000-0000-5000-8000-%04x%08x", r->index, r->ci->generation);
}

API(nvmlDeviceGetCount_v2, (unsigned *count), (count)) { *count = state->gpus; return OK; }

API(nvmlDeviceGetHandleByIndex_v2, (unsigned index, uint64_t *out), (index, out))
{
    if (index >= state->gpus)
        return INVALID_ARGUMENT;
    if (lost(index))
        return GPU_IS_LOST;
    *out = handle(DEVICE, index, 0, 0, 0);
    return OK;
}

API(nvmlDeviceGetHandleByPciBusId_v2, (const char *id, uint64_t *out), (id, out))
{
    unsigned domain, bus, device;
    if (sscanf(id, "%x:%x:%x", &domain, &bus, &device) != 3)
        return INVALID_ARGUMENT;
    for (unsigned n = 0; n < state->gpus; n++)
        if (bus == 7 + 16 * n)
            return do_nvmlDeviceGetHandleByIndex_v2(n, out);
    return NOT_FOUND;
}

API(nvmlDeviceGetHandleByUUID, (const char *uuid, uint64_t *out), (uuid, out))
{
    char text[64];
    for (unsigned n = 0; n < state->gpus; n++) {
        gpu_uuid(n, text, sizeof text);
        if (!strcmp(uuid, text))
            return do_nvmlDeviceGetHandleByIndex_v2(n, out);
        for (unsigned i = 0; i < INSTANCES; i++)
            for (unsigned c = 0; c < INSTANCES; c++) {
                struct ref r = {&state->gpu[n], &state->gpu[n].gi[i], &state->gpu[n].gi[i].ci[c], n};
                mig_uuid(&r, text, sizeof text);
                if (r.gi->used && r.ci->used && !strcmp(uuid, text)) {
                    *out = handle(MIG_DEVICE, n, i, c, r.ci->generation);
                    return OK;
                }
            }
    }
    return NOT_FOUND;
}

API(nvmlDeviceGetName, (uint64_t h, char *out, unsigned n), (h, out, n))
{
    ANY_DEVICE(h);
    snprintf(out, n, "%s%s%s", board_of(r.gpu)->name, r.gi ? " " : "", r.gi ? kind_of(r.gpu, r.gi)->name : "");
    return OK;
}

API(nvmlDeviceGetUUID, (uint64_t h, char *out, unsigned n), (h, out, n))
{
    ANY_DEVICE(h);
    if (r.ci)
        mig_uuid(&r, out, n);
    else
        gpu_uuid(r.index, out, n);
    return OK;
}

/* Of a MIG device: its number among those of its GPU, as nvmlDeviceGetMigDeviceHandleByIndex counts. */
API(nvmlDeviceGetIndex, (uint64_t h, unsigned *out), (h, out))
{
    ANY_DEVICE(h);
    *out = r.gi ? 0 : r.index;
    for (unsigned n = 0; r.gi && n < INSTANCES; n++)
        for (unsigned c = 0; r.gpu->gi[n].used && c < INSTANCES; c++) {
            if (&r.gpu->gi[n].ci[c] == r.ci)
                return OK;
            *out += r.gpu->gi[n].ci[c].used;
        }
    return OK;
}

API(nvmlDeviceGetMinorNumber, (uint64_t h, unsigned *out), (h, out)) { RESOLVE(h, DEVICE); *out = r.index; return OK; }

API(nvmlDeviceGetPciInfo_v3, (uint64_t h, pci_t *out), (h, out))
{
    RESOLVE(h, DEVICE);
    memset(out, 0, sizeof *out);
    bus_id(r.index, out->busId, sizeof out->busId);
    snprintf(out->legacy, sizeof out->legacy, "0000:%02X:00.0", 7 + 16 * r.index);
    out->bus = 7 + 16 * r.index;
    out->pciDeviceId = board_of(r.gpu)->pci_id;
    out->pciSubSystemId = board_of(r.gpu)->subsystem_id;
    return OK;
}

API(nvmlDeviceGetCudaComputeCapability, (uint64_t h, int *major, int *minor), (h, major, minor))
{
    ANY_DEVICE(h);
    *major = board_of(r.gpu)->major, *minor = board_of(r.gpu)->minor;
    return OK;
}

static unsigned long long memory_of(struct ref r)
{
    return (unsigned long long)(r.gi ? kind_of(r.gpu, r.gi)->memory_mib : board_of(r.gpu)->memory_mib) << 20;
}

API(nvmlDeviceGetMemoryInfo, (uint64_t h, memory_t *out), (h, out))
{
    ANY_DEVICE(h);
    *out = (memory_t){memory_of(r), memory_of(r), 0};
    return OK;
}

API(nvmlDeviceGetMemoryInfo_v2, (uint64_t h, memory_v2_t *out), (h, out))
{
    ANY_DEVICE(h);
    if (out->version != VERSION(memory_v2_t, 2))
        return ARGUMENT_VERSION_MISMATCH;
    out->total = out->free = memory_of(r), out->reserved = out->used = 0;
    return OK;
}

API(nvmlDeviceGetComputeRunningProcesses_v3, (uint64_t h, unsigned *count, process_t *out), (h, count, out))
{
    ANY_DEVICE(h);
    unsigned room = out ? *count : 0;
    *count = holders(r.index, r.gi ? (int)r.gi->id : -1, r.ci ? (int)r.ci->id : -1, out, room);
    return *count > room ? INSUFFICIENT_SIZE : OK;
}

API(nvmlDeviceGetGpuFabricInfo, (uint64_t h, void *out), (h, out)) { (void)h, (void)out; return NOT_SUPPORTED; }
API(nvmlDeviceGetSupportedEventTypes, (uint64_t h, unsigned long long *out), (h, out)) { ANY_DEVICE(h); *out = 8; return OK; }
API(nvmlDeviceRegisterEvents, (uint64_t h, unsigned long long types, uint64_t set), (h, types, set))
{
    (void)types, (void)set;
    ANY_DEVICE(h);
    return OK;
}
API(nvmlEventSetCreate, (uint64_t *out), (out)) { *out = 1; return OK; }
API(nvmlEventSetFree, (uint64_t set), (set)) { (void)set; return OK; }
/* Not through API(): it waits, and must not do so under the lock. */
__attribute__((visibility("default"))) nvmlReturn_t nvmlEventSetWait_v2(uint64_t set, event_t *out, unsigned milliseconds)
{
    (void)set, (void)out;
    usleep(milliseconds * 1000);
    return TIMEOUT;
}

/* ---- MIG mode ---- */
API(nvmlDeviceGetMigMode, (uint64_t h, unsigned *current, unsigned *pending), (h, current, pending))
{
    RESOLVE(h, DEVICE);
    if (!board_of(r.gpu)->slots)
        return NOT_SUPPORTED;
    *current = r.gpu->mig, *pending = r.gpu->pending;
    return OK;
}

API(nvmlDeviceSetMigMode, (uint64_t h, unsigned mode, nvmlReturn_t *activation), (h, mode, activation))
{
    RESOLVE(h, DEVICE);
    ROOT();
    *activation = OK;
    if (!board_of(r.gpu)->slots)
        return NOT_SUPPORTED;
    if (mode > 1)
        return INVALID_ARGUMENT;
    if (board_of(r.gpu)->needs_reset) {
        r.gpu->pending = mode;
        if (mode != r.gpu->mig)
            *activation = RESET_REQUIRED;
        return OK;
    }
    if (mode != r.gpu->mig && (occupied(r.gpu) || holders(r.index, -1, -1, NULL, 0)))
        return IN_USE;
    r.gpu->mig = r.gpu->pending = mode;
    return OK;
}

/* For the stand-in of nvidia-smi: resets one GPU. Instances never survive a reset. */
__attribute__((visibility("default"))) nvmlReturn_t fakeNvmlReset(const char *id, char *text, unsigned n)
{
    *text = 0;
    if (attach() != OK)
        return DRIVER_NOT_LOADED;
    char *refuse = strstr(fault_lines(), "smi refuse ");
    if (refuse) {
        snprintf(text, n, "%.*s", (int)strcspn(refuse + 11, "\n"), refuse + 11);
        return UNKNOWN;
    }
    unsigned domain, bus, device;
    unsigned index = sscanf(id, "%x:%x:%x", &domain, &bus, &device) == 3 ? (bus - 7) / 16 : (unsigned)atoi(id);
    if (index >= state->gpus)
        return NOT_FOUND;
    nvmlReturn_t rc = OK;
    flock(state_fd, LOCK_EX);
    if (holders(index, -1, -1, NULL, 0)) {
        rc = IN_USE;
    } else {
        struct gpu *gpu = &state->gpu[index];
        memset(gpu->gi, 0, sizeof gpu->gi);
        gpu->mig = gpu->pending;
    }
    flock(state_fd, LOCK_UN);
    return rc;
}

/* ---- GPU instances ---- */
API(nvmlDeviceGetGpuInstanceProfileInfo, (uint64_t h, unsigned profile, gi_profile_v1_t *out), (h, profile, out))
{
    RESOLVE(h, DEVICE);
    int n = find_kind(r.gpu, profile, 0);
    if (n < 0)
        return profile < KINDS ? NOT_SUPPORTED : INVALID_ARGUMENT;
    const struct kind *k = &board_of(r.gpu)->kinds[n];
    *out = (gi_profile_v1_t){k->id, 0, k->slices, k->limit, k->sm, k->copy, k->decoder, k->encoder, k->jpeg, k->ofa, k->memory_mib};
    return OK;
}

API(nvmlDeviceGetGpuInstanceProfileInfoV, (uint64_t h, unsigned profile, void *out), (h, profile, out))
{
    gi_profile_v1_t v1;
    nvmlReturn_t rc = do_nvmlDeviceGetGpuInstanceProfileInfo(h, profile, &v1);
    if (rc)
        return rc;
    RESOLVE(h, DEVICE);
    const char *name = board_of(r.gpu)->kinds[find_kind(r.gpu, profile, 0)].name;
    unsigned version = *(unsigned *)out;
    if (version == VERSION(gi_profile_v2_t, 2)) {
        gi_profile_v2_t *o = out;
        *o = (gi_profile_v2_t){version, v1.id, 0, v1.slices, v1.count, v1.sm, v1.copy, v1.decoder, v1.encoder, v1.jpeg, v1.ofa, v1.memory, ""};
        strcpy(o->name, name);
    } else if (version == VERSION(gi_profile_v3_t, 3)) {
        gi_profile_v3_t *o = out;
        *o = (gi_profile_v3_t){version, v1.id, v1.slices, v1.count, v1.sm, v1.copy, v1.decoder, v1.encoder, v1.jpeg, v1.ofa, v1.memory, "", 0};
        strcpy(o->name, name);
    } else {
        return ARGUMENT_VERSION_MISMATCH;
    }
    return OK;
}

API(nvmlDeviceGetGpuInstancePossiblePlacements_v2, (uint64_t h, unsigned id, placement_t *out, unsigned *count), (h, id, out, count))
{
    RESOLVE(h, DEVICE);
    ROOT();
    int n = find_kind(r.gpu, id, 1);
    if (n < 0)
        return NOT_SUPPORTED;
    const struct kind *k = &board_of(r.gpu)->kinds[n];
    unsigned found = 0;
    EACH_START(s, k) {
        if (out && found < *count)
            out[found] = (placement_t){(unsigned)k->starts[s], k->size};
        found++;
    }
    int short_of = out && found > *count;
    *count = found;
    return short_of ? INSUFFICIENT_SIZE : OK;
}

API(nvmlDeviceGetGpuInstanceRemainingCapacity, (uint64_t h, unsigned id, unsigned *out), (h, id, out))
{
    RESOLVE(h, DEVICE);
    ROOT();
    MIG_ON();
    int n = find_kind(r.gpu, id, 1);
    if (n < 0)
        return NOT_SUPPORTED;
    const struct kind *k = &board_of(r.gpu)->kinds[n];
    *out = resources_left(r.gpu, k) ? free_starts(k, occupied(r.gpu)) : 0;
    return OK;
}

API(nvmlDeviceCreateGpuInstance, (uint64_t h, unsigned id, uint64_t *out), (h, id, out))
{
    RESOLVE(h, DEVICE);
    return create_gi(r, id, -1, out);
}

API(nvmlDeviceCreateGpuInstanceWithPlacement, (uint64_t h, unsigned id, const placement_t *at, uint64_t *out), (h, id, at, out))
{
    RESOLVE(h, DEVICE);
    int n = find_kind(r.gpu, id, 1);
    if (n >= 0 && board_of(r.gpu)->kinds[n].size != at->size)
        return INVALID_ARGUMENT;
    return create_gi(r, id, (int)at->start, out);
}

API(nvmlGpuInstanceDestroy, (uint64_t h), (h))
{
    RESOLVE(h, GI);
    ROOT();
    for (int n = 0; n < INSTANCES; n++)
        if (r.gi->ci[n].used)
            return IN_USE;
    if (holders(r.index, (int)r.gi->id, -1, NULL, 0))
        return IN_USE;
    memset(r.gi, 0, sizeof *r.gi);
    return OK;
}

API(nvmlDeviceGetGpuInstances, (uint64_t h, unsigned id, uint64_t *out, unsigned *count), (h, id, out, count))
{
    RESOLVE(h, DEVICE);
    ROOT();
    MIG_ON();
    if (find_kind(r.gpu, id, 1) < 0)
        return NOT_SUPPORTED;
    *count = 0;
    for (unsigned n = 0; n < INSTANCES; n++)
        if (r.gpu->gi[n].used && kind_of(r.gpu, &r.gpu->gi[n])->id == id)
            out[(*count)++] = handle(GI, r.index, n, 0, r.gpu->gi[n].generation);
    return OK;
}

API(nvmlDeviceGetGpuInstanceById, (uint64_t h, unsigned id, uint64_t *out), (h, id, out))
{
    RESOLVE(h, DEVICE);
    ROOT();
    MIG_ON();
    for (unsigned n = 0; n < INSTANCES; n++)
        if (r.gpu->gi[n].used && r.gpu->gi[n].id == id) {
            *out = handle(GI, r.index, n, 0, r.gpu->gi[n].generation);
            return OK;
        }
    return NOT_FOUND;
}

API(nvmlGpuInstanceGetInfo, (uint64_t h, gi_info_t *out), (h, out))
{
    RESOLVE(h, GI);
    const struct kind *k = kind_of(r.gpu, r.gi);
    *out = (gi_info_t){handle(DEVICE, r.index, 0, 0, 0), r.gi->id, k->id, {r.gi->start, k->size}};
    return OK;
}

/* ---- compute instances; their profile id equals the enum ---- */
static nvmlReturn_t ci_profile_info(struct ref r, unsigned profile, unsigned engine, ci_profile_v1_t *out, char *name)
{
    if (profile >= 9 || engine)
        return INVALID_ARGUMENT;
    const struct kind *k = kind_of(r.gpu, r.gi);
    unsigned c = ci_slices(profile, k->slices);
    if (!c)
        return NOT_SUPPORTED;
    *out = (ci_profile_v1_t){profile, c, k->slices / c, k->sm * c / k->slices, k->copy, k->decoder, k->encoder, k->jpeg, k->ofa};
    if (name && c == k->slices)
        snprintf(name, 96, "%s", k->name);
    else if (name)
        snprintf(name, 96, "MIG %uc.%s", c, k->name + 4);
    return OK;
}

API(nvmlGpuInstanceGetComputeInstanceProfileInfo, (uint64_t h, unsigned p, unsigned e, ci_profile_v1_t *out), (h, p, e, out))
{
    RESOLVE(h, GI);
    return ci_profile_info(r, p, e, out, NULL);
}

API(nvmlGpuInstanceGetComputeInstanceProfileInfoV, (uint64_t h, unsigned p, unsigned e, ci_profile_v3_t *out), (h, p, e, out))
{
    RESOLVE(h, GI);
    ci_profile_v1_t v;
    char name[96] = "";
    nvmlReturn_t rc = ci_profile_info(r, p, e, &v, name);
    if (rc)
        return rc;
    if (out->version != VERSION(ci_profile_v2_t, 2) && out->version != VERSION(ci_profile_v3_t, 3))
        return ARGUMENT_VERSION_MISMATCH;
    if (out->version == VERSION(ci_profile_v3_t, 3))
        out->caps = 0;
    out->id = v.id, out->slices = v.slices, out->count = v.count, out->sm = v.sm, out->copy = v.copy;
    out->decoder = v.decoder, out->encoder = v.encoder, out->jpeg = v.jpeg, out->ofa = v.ofa;
    memcpy(out->name, name, sizeof name);
    return OK;
}

API(nvmlGpuInstanceCreateComputeInstance, (uint64_t h, unsigned id, uint64_t *out), (h, id, out))
{
    RESOLVE(h, GI);
    return create_ci(r, h, id, -1, out);
}

API(nvmlGpuInstanceCreateComputeInstanceWithPlacement, (uint64_t h, unsigned id, const placement_t *at, uint64_t *out), (h, id, at, out))
{
    RESOLVE(h, GI);
    if (at->size != ci_slices(id, kind_of(r.gpu, r.gi)->slices))
        return INVALID_ARGUMENT;
    return create_ci(r, h, id, (int)at->start, out);
}

API(nvmlGpuInstanceGetComputeInstancePossiblePlacements, (uint64_t h, unsigned id, placement_t *out, unsigned *count), (h, id, out, count))
{
    RESOLVE(h, GI);
    ROOT();
    unsigned gi_slices = kind_of(r.gpu, r.gi)->slices, slices = ci_slices(id, gi_slices), found = 0;
    if (!slices)
        return NOT_SUPPORTED;
    for (unsigned start = 0; start < gi_slices; start++)
        if (ci_may_start(start, slices, gi_slices)) {
            if (out && found < *count)
                out[found] = (placement_t){start, slices};
            found++;
        }
    int short_of = out && found > *count;
    *count = found;
    return short_of ? INSUFFICIENT_SIZE : OK;
}

API(nvmlComputeInstanceDestroy, (uint64_t h), (h))
{
    RESOLVE(h, CI);
    ROOT();
    if (holders(r.index, (int)r.gi->id, (int)r.ci->id, NULL, 0))
        return IN_USE;
    memset(r.ci, 0, sizeof *r.ci);
    return OK;
}

API(nvmlGpuInstanceGetComputeInstances, (uint64_t h, unsigned id, uint64_t *out, unsigned *count), (h, id, out, count))
{
    RESOLVE(h, GI);
    ROOT();
    if (!ci_slices(id, kind_of(r.gpu, r.gi)->slices))
        return NOT_SUPPORTED;
    *count = 0;
    for (unsigned n = 0; n < INSTANCES; n++)
        if (r.gi->ci[n].used && ci_profile(r.gi->ci[n].slices) == id)
            out[(*count)++] = handle(CI, r.index, h >> 40 & 255, n, r.gi->ci[n].generation);
    return OK;
}

API(nvmlGpuInstanceGetComputeInstanceById, (uint64_t h, unsigned id, uint64_t *out), (h, id, out))
{
    RESOLVE(h, GI);
    if (id >= INSTANCES || !r.gi->ci[id].used)
        return NOT_FOUND;
    *out = handle(CI, r.index, h >> 40 & 255, id, r.gi->ci[id].generation);
    return OK;
}

API(nvmlComputeInstanceGetInfo_v2, (uint64_t h, ci_info_t *out), (h, out))
{
    RESOLVE(h, CI);
    unsigned gi = h >> 40 & 255;
    *out = (ci_info_t){handle(DEVICE, r.index, 0, 0, 0), handle(GI, r.index, gi, 0, r.gi->generation), r.ci->id,
                       ci_profile(r.ci->slices), {r.ci->start, r.ci->slices}};
    return OK;
}

/* ---- MIG devices: one for each compute instance, in the order of slots ---- */
API(nvmlDeviceGetMaxMigDeviceCount, (uint64_t h, unsigned *out), (h, out))
{
    RESOLVE(h, DEVICE);
    *out = board_of(r.gpu)->slots == 8 ? 7 : (unsigned)board_of(r.gpu)->slots;
    return OK;
}

API(nvmlDeviceGetMigDeviceHandleByIndex, (uint64_t h, unsigned index, uint64_t *out), (h, index, out))
{
    RESOLVE(h, DEVICE);
    for (unsigned n = 0; r.gpu->mig && n < INSTANCES; n++)
        for (unsigned c = 0; r.gpu->gi[n].used && c < INSTANCES; c++)
            if (r.gpu->gi[n].ci[c].used && index-- == 0) {
                *out = handle(MIG_DEVICE, r.index, n, c, r.gpu->gi[n].ci[c].generation);
                return OK;
            }
    return NOT_FOUND;
}

API(nvmlDeviceIsMigDeviceHandle, (uint64_t h, unsigned *out), (h, out)) { ANY_DEVICE(h); *out = r.gi != NULL; return OK; }

API(nvmlDeviceGetDeviceHandleFromMigDeviceHandle, (uint64_t h, uint64_t *out), (h, out))
{
    RESOLVE(h, MIG_DEVICE);
    *out = handle(DEVICE, r.index, 0, 0, 0);
    return OK;
}

API(nvmlDeviceGetGpuInstanceId, (uint64_t h, unsigned *out), (h, out)) { RESOLVE(h, MIG_DEVICE); *out = r.gi->id; return OK; }
API(nvmlDeviceGetComputeInstanceId, (uint64_t h, unsigned *out), (h, out)) { RESOLVE(h, MIG_DEVICE); *out = r.ci->id; return OK; }

API(nvmlDeviceGetAttributes_v2, (uint64_t h, attributes_t *out), (h, out))
{
    RESOLVE(h, MIG_DEVICE);
    const struct kind *k = kind_of(r.gpu, r.gi);
    *out = (attributes_t){k->sm * r.ci->slices / k->slices, k->copy, k->decoder, k->encoder, k->jpeg, k->ofa, k->slices, r.ci->slices,
                          k->memory_mib};
    return OK;
}
