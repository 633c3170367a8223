/* A stand-in for libnvidia-ml.so.1: the functions that the library reads, with the real
   layouts and the real checks of sizes and versions. See machine.h for the machine. */

#include "machine.h"

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    GPU_IS_LOST = 15,
    ARGUMENT_VERSION_MISMATCH = 25,
};

/* A handle is a device of this table, or an instance of MIG of it. */
struct device {
    int card;
    int instance; /* -1 for the card itself */
};

static struct device devices[MAX_CARDS];
static struct device instances[MAX_CARDS][8];
static int started; /* how often it was initialised and not shut down */
static int started_generation;

typedef struct device *handle_t;

typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} pci_t;

typedef struct {
    unsigned long long total, free, used;
} memory_t;

typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} memory_v2_t;

typedef struct {
    unsigned gpu, memory;
} utilization_t;

typedef struct {
    unsigned version, sensor;
    int temperature;
} temperature_t;

typedef struct {
    unsigned pid;
    unsigned long long memory;
    unsigned gpu_instance, compute_instance;
} process_t;

_Static_assert(sizeof(pci_t) == 68, "nvmlPciInfo_t");
_Static_assert(sizeof(memory_v2_t) == 40, "nvmlMemory_v2_t");
_Static_assert(sizeof(process_t) == 24, "nvmlProcessInfo_t");
_Static_assert(sizeof(temperature_t) == 12, "nvmlTemperature_v1_t");

/* What every function does first: hang, be uninitialised, or fail as the file says. */
static int enter(const char *function)
{
    bool hangs = true;
    refresh();
    while (hangs) {
        hangs = false;
        for (int i = 0; i < machine->hangs_count; i++)
            hangs |= !strcmp(machine->hangs[i].function, function);
        if (hangs) {
            usleep(5000);
            refresh();
        }
    }
    for (int i = 0; i < machine->errors_count; i++)
        if (!strcmp(machine->errors[i].function, function))
            return machine->errors[i].code;
    return SUCCESS;
}

static int enter_started(const char *function)
{
    int code = enter(function);
    if (code)
        return code;
    if (!started || started_generation != machine->generation)
        return UNINITIALIZED;
    return SUCCESS;
}

/* NVML counts only the cards that its driver knows. */
static int card_at(unsigned index)
{
    unsigned seen = 0;
    for (int i = 0; i < machine->cards_count; i++)
        if (!flag_of(machine->cards[i].text, "unknown") && seen++ == index)
            return i;
    return -1;
}

static int error_of_card(const char *text, const char *function)
{
    char list[1024], *rest;
    size_t length = strlen(function);
    if (!value_of(text, "errors", list, sizeof list))
        return SUCCESS;
    for (char *one = strtok_r(list, ",", &rest); one; one = strtok_r(NULL, ",", &rest))
        if (!strncmp(one, function, length) && one[length] == ':')
            return atoi(one + length + 1);
    return SUCCESS;
}

static int enter_device(const char *function, handle_t handle, const char **text)
{
    int code = enter_started(function);
    if (code)
        return code;
    if (!handle || handle->card < 0 || handle->card >= machine->cards_count)
        return INVALID_ARGUMENT;
    *text = machine->cards[handle->card].text;
    if (flag_of(*text, "lost"))
        return GPU_IS_LOST;
    return error_of_card(*text, function);
}

#define ENTER(function)                    \
    do {                                   \
        int code = enter_started(function);\
        if (code)                          \
            return code;                   \
    } while (0)

#define ENTER_DEVICE(function)                           \
    const char *text = NULL;                             \
    do {                                                 \
        int code = enter_device(function, handle, &text);\
        if (code)                                        \
            return code;                                 \
    } while (0)

static int put_text(const char *from, char *out, unsigned length)
{
    if (!out)
        return INVALID_ARGUMENT;
    if (strlen(from) + 1 > length)
        return INSUFFICIENT_SIZE;
    strcpy(out, from);
    return SUCCESS;
}

static int put_number(const char *text, const char *key, unsigned *out)
{
    unsigned long long number;
    if (!number_of(text, key, &number))
        return NOT_SUPPORTED;
    *out = (unsigned)number;
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned flags)
{
    int code = enter("nvmlInitWithFlags");
    (void)flags;
    if (code)
        return code;
    if (machine->init_error)
        return machine->init_error;
    if (started && started_generation != machine->generation)
        started = 0;
    started++;
    started_generation = machine->generation;
    for (int i = 0; i < MAX_CARDS; i++) {
        devices[i] = (struct device){i, -1};
        for (int j = 0; j < 8; j++)
            instances[i][j] = (struct device){i, j};
    }
    return SUCCESS;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void)
{
    ENTER("nvmlShutdown");
    started--;
    return SUCCESS;
}

const char *nvmlErrorString(int code)
{
    switch (code) {
    case 0: return "Success";
    case 1: return "Uninitialized";
    case 2: return "Invalid Argument";
    case 3: return "Not Supported";
    case 4: return "Insufficient Permissions";
    case 6: return "Not Found";
    case 7: return "Insufficient Size";
    case 9: return "Driver Not Loaded";
    case 10: return "Timeout";
    case 12: return "NVML Shared Library Not Found";
    case 13: return "Function Not Found";
    case 15: return "GPU is lost";
    case 16: return "GPU requires reset";
    case 17: return "The operating system has blocked the request.";
    case 18: return "Driver/library version mismatch";
    case 19: return "GPU is currently in use";
    case 25: return "The provided version is invalid/unsupported";
    case 28: return "GPU not found";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *out, unsigned length)
{
    ENTER("nvmlSystemGetDriverVersion");
    return put_text(machine->driver, out, length);
}

int nvmlSystemGetCudaDriverVersion(int *out)
{
    ENTER("nvmlSystemGetCudaDriverVersion");
    *out = machine->cuda;
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *out)
{
    ENTER("nvmlSystemGetCudaDriverVersion_v2");
    *out = machine->cuda;
    return SUCCESS;
}

int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned length)
{
    char name[512];
    ENTER("nvmlSystemGetProcessName");
    for (int i = 0; i < machine->processes_count; i++)
        if (machine->processes[i].pid == pid
            && value_of(machine->processes[i].text, "name", name, sizeof name)) {
            /* As the real one: a name that is too long is cut. */
            snprintf(out, length, "%s", name);
            return SUCCESS;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetCount_v2(unsigned *out)
{
    ENTER("nvmlDeviceGetCount_v2");
    *out = 0;
    while (card_at(*out) >= 0)
        (*out)++;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle_t *out)
{
    unsigned long long code;
    ENTER("nvmlDeviceGetHandleByIndex_v2");
    int card = card_at(index);
    if (card < 0)
        return INVALID_ARGUMENT;
    if (number_of(machine->cards[card].text, "handle_error", &code))
        return (int)code;
    if (flag_of(machine->cards[card].text, "lost"))
        return GPU_IS_LOST;
    *out = &devices[card];
    return SUCCESS;
}

int nvmlDeviceGetName(handle_t handle, char *out, unsigned length)
{
    char word[96] = "";
    ENTER_DEVICE("nvmlDeviceGetName");
    value_of(text, "name", word, sizeof word);
    return put_text(word, out, length);
}

int nvmlDeviceGetUUID(handle_t handle, char *out, unsigned length)
{
    char word[1024] = "", *rest;
    ENTER_DEVICE("nvmlDeviceGetUUID");
    if (handle->instance < 0) {
        value_of(text, "uuid", word, sizeof word);
        return put_text(word, out, length);
    }
    value_of(text, "mig_uuids", word, sizeof word);
    char *one = strtok_r(word, ",", &rest);
    for (int i = 0; one && i < handle->instance; i++)
        one = strtok_r(NULL, ",", &rest);
    return one ? put_text(one, out, length) : NOT_FOUND;
}

int nvmlDeviceGetPciInfo_v3(handle_t handle, pci_t *out)
{
    char word[32] = "";
    unsigned function = 0;
    unsigned long long id = 0;
    ENTER_DEVICE("nvmlDeviceGetPciInfo_v3");
    memset(out, 0, sizeof *out);
    value_of(text, "bus", word, sizeof word);
    sscanf(word, "%x:%x:%x.%x", &out->domain, &out->bus, &out->device, &function);
    number_of(text, "device", &id);
    out->pci_device_id = (unsigned)id;
    snprintf(out->bus_id, sizeof out->bus_id, "%08X:%02X:%02X.%X", out->domain, out->bus,
             out->device, function);
    snprintf(out->bus_id_legacy, sizeof out->bus_id_legacy, "%04X:%02X:%02X.%X",
             out->domain & 0xffff, out->bus & 0xff, out->device & 0xff, function & 0xf);
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(handle_t handle, int *major, int *minor)
{
    char word[16];
    ENTER_DEVICE("nvmlDeviceGetCudaComputeCapability");
    if (!value_of(text, "cc", word, sizeof word))
        return NOT_SUPPORTED;
    return sscanf(word, "%d.%d", major, minor) == 2 ? SUCCESS : NOT_SUPPORTED;
}

/* The first version counts what is reserved among what is used. */
int nvmlDeviceGetMemoryInfo(handle_t handle, memory_t *out)
{
    unsigned long long reserved = 0, used = 0;
    ENTER_DEVICE("nvmlDeviceGetMemoryInfo");
    if (!number_of(text, "total", &out->total))
        return NOT_SUPPORTED;
    number_of(text, "used", &used);
    number_of(text, "reserved", &reserved);
    out->used = used + reserved;
    if (!number_of(text, "free", &out->free))
        out->free = out->total - out->used;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(handle_t handle, memory_v2_t *out)
{
    ENTER_DEVICE("nvmlDeviceGetMemoryInfo_v2");
    if (flag_of(text, "nomem2"))
        return 13;
    if (out->version != 0x02000028)
        return ARGUMENT_VERSION_MISMATCH;
    if (!number_of(text, "total", &out->total))
        return NOT_SUPPORTED;
    out->used = out->reserved = 0;
    number_of(text, "used", &out->used);
    number_of(text, "reserved", &out->reserved);
    if (!number_of(text, "free", &out->free))
        out->free = out->total - out->used - out->reserved;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(handle_t handle, utilization_t *out)
{
    ENTER_DEVICE("nvmlDeviceGetUtilizationRates");
    out->memory = 0;
    put_number(text, "memory_utilization", &out->memory);
    return put_number(text, "utilization", &out->gpu);
}

int nvmlDeviceGetTemperature(handle_t handle, unsigned sensor, unsigned *out)
{
    ENTER_DEVICE("nvmlDeviceGetTemperature");
    return sensor ? INVALID_ARGUMENT : put_number(text, "temperature", out);
}

int nvmlDeviceGetTemperatureV(handle_t handle, temperature_t *out)
{
    unsigned number;
    ENTER_DEVICE("nvmlDeviceGetTemperatureV");
    if (out->version != 0x0100000C)
        return ARGUMENT_VERSION_MISMATCH;
    if (out->sensor)
        return INVALID_ARGUMENT;
    if (put_number(text, "temperature", &number))
        return NOT_SUPPORTED;
    out->temperature = (int)number;
    return SUCCESS;
}

int nvmlDeviceGetTemperatureThreshold(handle_t handle, unsigned which, unsigned *out)
{
    ENTER_DEVICE("nvmlDeviceGetTemperatureThreshold");
    return which == 1 ? put_number(text, "slowdown", out) : NOT_SUPPORTED;
}

int nvmlDeviceGetPowerUsage(handle_t handle, unsigned *out)
{
    ENTER_DEVICE("nvmlDeviceGetPowerUsage");
    return put_number(text, "power", out);
}

int nvmlDeviceGetEnforcedPowerLimit(handle_t handle, unsigned *out)
{
    ENTER_DEVICE("nvmlDeviceGetEnforcedPowerLimit");
    return put_number(text, "limit", out);
}

int nvmlDeviceGetClockInfo(handle_t handle, unsigned kind, unsigned *out)
{
    ENTER_DEVICE("nvmlDeviceGetClockInfo");
    if (kind == 1)
        return put_number(text, "sm_clock", out);
    return kind == 2 ? put_number(text, "memory_clock", out) : NOT_SUPPORTED;
}

int nvmlDeviceGetCurrentClocksEventReasons(handle_t handle, unsigned long long *out)
{
    ENTER_DEVICE("nvmlDeviceGetCurrentClocksEventReasons");
    return number_of(text, "reasons", out) ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(handle_t handle, unsigned long long *out)
{
    ENTER_DEVICE("nvmlDeviceGetCurrentClocksThrottleReasons");
    return number_of(text, "reasons", out) ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetTotalEccErrors(handle_t handle, unsigned kind, unsigned counter,
                                unsigned long long *out)
{
    ENTER_DEVICE("nvmlDeviceGetTotalEccErrors");
    /* Uncorrected, since the driver started; the others differ, to be told apart. */
    if (!number_of(text, "ecc", out))
        return NOT_SUPPORTED;
    if (kind != 1 || counter != 0)
        *out += 1000;
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(handle_t handle, unsigned *corrected, unsigned *uncorrected,
                              unsigned *pending, unsigned *failed)
{
    ENTER_DEVICE("nvmlDeviceGetRemappedRows");
    *corrected = *uncorrected = *pending = 0;
    return put_number(text, "rows", failed);
}

int nvmlDeviceGetDisplayActive(handle_t handle, unsigned *out)
{
    ENTER_DEVICE("nvmlDeviceGetDisplayActive");
    return put_number(text, "display", out);
}

int nvmlDeviceGetMigMode(handle_t handle, unsigned *current, unsigned *pending)
{
    ENTER_DEVICE("nvmlDeviceGetMigMode");
    int code = put_number(text, "mig", current);
    if (!code)
        *pending = *current;
    return code;
}

int nvmlDeviceGetMaxMigDeviceCount(handle_t handle, unsigned *out)
{
    ENTER_DEVICE("nvmlDeviceGetMaxMigDeviceCount");
    *out = flag_of(text, "mig") ? 7 : 0;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(handle_t handle, unsigned index, handle_t *out)
{
    char word[1024] = "", *rest;
    ENTER_DEVICE("nvmlDeviceGetMigDeviceHandleByIndex");
    if (!flag_of(text, "mig"))
        return NOT_SUPPORTED;
    if (index >= 7)
        return INVALID_ARGUMENT;
    value_of(text, "mig_uuids", word, sizeof word);
    char *one = strtok_r(word, ",", &rest);
    for (unsigned i = 0; one && i < index; i++)
        one = strtok_r(NULL, ",", &rest);
    if (!one)
        return NOT_FOUND;
    *out = &instances[handle->card][index];
    return SUCCESS;
}

/* First call: how many there are; second call: which. */
static int put_processes(handle_t handle, bool compute, unsigned *count, process_t *out)
{
    unsigned room = *count, found = 0;
    unsigned long long memory;
    char word[32];
    int code = SUCCESS;
    for (int i = 0; i < machine->processes_count; i++) {
        struct process *one = &machine->processes[i];
        if (one->card != handle->card || one->compute != compute)
            continue;
        if (out && found < room) {
            bool known = value_of(one->text, "memory", word, sizeof word);
            memory = known ? strtoull(word, NULL, 0) : ~0ULL;
            out[found] = (process_t){one->pid, memory, ~0U, ~0U};
        }
        found++;
    }
    if (found > room || (found && !out))
        code = INSUFFICIENT_SIZE;
    *count = found;
    return code;
}

#define PROCESSES(name, compute)                                     \
    int name(handle_t handle, unsigned *count, process_t *out)       \
    {                                                                \
        ENTER_DEVICE(#name);                                         \
        if (flag_of(text, "no_processes"))                           \
            return NOT_SUPPORTED;                                    \
        return put_processes(handle, compute, count, out);           \
    }

PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, true)
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, true)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, false)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, false)
