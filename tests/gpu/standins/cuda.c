/* A stand-in for libcuda.so.1: which cards CUDA shows to a program, as the driver decides
   it from CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER. See machine.h for the machine.

   The rules are those that NVIDIA documents, written from its words and not from the
   library's own table of them, so that each can catch the other's mistakes, and mended
   where a real card was seen to do otherwise: both variables are read once, at cuInit; a
   list ends at its first entry that names no card; a card named twice empties it, with an
   error of its own; numbers are read as strtoul does and count in CUDA's order; a UUID
   may be in either case, and cut short while it stays unique; numbers and UUIDs do not
   mix; of MIG one instance at most. Without an order the fastest card is number 0.
   A child of a process that has started CUDA cannot use it. */

#include <ctype.h>
#include <strings.h>

#include "machine.h"

enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
};

struct shown {
    const char *text;
    int card;
    int instance; /* of MIG; -1 for a whole card */
};

typedef struct {
    unsigned char bytes[16];
} uuid_t;

static struct shown all[MAX_CARDS]; /* what there is, in CUDA's order */
static int all_count;
static struct shown visible[MAX_CARDS]; /* what is shown, in the program's order */
static int visible_count;
static bool is_started;
static bool is_repeated; /* a card was named twice */
static pid_t started_by;

static bool is_before(const struct shown *a, const struct shown *b, bool by_bus)
{
    unsigned long long left = 0, right = 0;
    char one[32] = "", other[32] = "";
    unsigned d1 = 0, b1 = 0, n1 = 0, d2 = 0, b2 = 0, n2 = 0;
    number_of(a->text, "speed", &left);
    number_of(b->text, "speed", &right);
    if (!by_bus && left != right)
        return left > right;
    value_of(a->text, "bus", one, sizeof one);
    value_of(b->text, "bus", other, sizeof other);
    sscanf(one, "%x:%x:%x", &d1, &b1, &n1);
    sscanf(other, "%x:%x:%x", &d2, &b2, &n2);
    if (d1 != d2)
        return d1 < d2;
    return b1 != b2 ? b1 < b2 : n1 < n2;
}

/* The UUID of a card, or of its n-th instance; false where there is none. */
static bool uuid_of(const char *text, int instance, char *out, size_t size)
{
    char list[1024], *rest = NULL;
    if (instance < 0)
        return value_of(text, "uuid", out, size);
    if (!value_of(text, "mig_uuids", list, sizeof list))
        return false;
    char *one = strtok_r(list, ",", &rest);
    while (one && instance-- > 0)
        one = strtok_r(NULL, ",", &rest);
    if (one)
        snprintf(out, size, "%s", one);
    return one != NULL;
}

/* All cards in CUDA's order. One that is divided shows its first instance. */
static void line_up(bool by_bus)
{
    char word[96];
    all_count = 0;
    for (int i = 0; i < machine->cards_count; i++) {
        const char *text = machine->cards[i].text;
        if (flag_of(text, "unknown") || flag_of(text, "lost"))
            continue;
        struct shown one = {text, i, flag_of(text, "mig") ? 0 : -1};
        if (one.instance == 0 && !uuid_of(text, 0, word, sizeof word))
            continue;
        int at = all_count++;
        while (at > 0 && is_before(&one, &all[at - 1], by_bus)) {
            all[at] = all[at - 1];
            at--;
        }
        all[at] = one;
    }
}

static bool find_number(const char *entry, struct shown *out)
{
    char *end = NULL;
    if (!isdigit((unsigned char)*entry) && *entry != '+')
        return false;
    errno = 0;
    unsigned long number = strtoul(entry, &end, 10);
    if (end == entry || errno || number >= (unsigned long)all_count)
        return false;
    *out = all[number];
    return true;
}

/* The digits may stand in either case, as a real driver was seen to read them. */
static bool find_uuid(const char *entry, struct shown *out)
{
    int found = 0;
    char uuid[96];
    if (!entry[4])
        return false;
    for (int i = 0; i < all_count; i++)
        if (uuid_of(all[i].text, -1, uuid, sizeof uuid)
            && !strncasecmp(uuid, entry, strlen(entry))) {
            *out = all[i];
            found++;
        }
    return found == 1;
}

/* MIG-<uuid>, or MIG-GPU-<uuid of the card>/<gpu instance>/<compute instance>, where the
   n-th instance of a card of ours has the numbers n and 0. */
static bool find_mig(const char *entry, struct shown *out)
{
    char uuid[96];
    for (int i = 0; i < all_count; i++) {
        if (all[i].instance < 0)
            continue;
        for (int j = 0; uuid_of(all[i].text, j, uuid, sizeof uuid); j++) {
            char card[96] = "", old[160];
            uuid_of(all[i].text, -1, card, sizeof card);
            snprintf(old, sizeof old, "MIG-%s/%d/0", card, j);
            if (!strcmp(uuid, entry) || !strcmp(old, entry)) {
                *out = (struct shown){all[i].text, all[i].card, j};
                return true;
            }
        }
    }
    return false;
}

enum kind { NUMBER, UUID, MIG };

static enum kind kind_of(const char *entry)
{
    if (!strncmp(entry, "GPU-", 4))
        return UUID;
    return strncmp(entry, "MIG-", 4) ? NUMBER : MIG;
}

static void choose(const char *value)
{
    char list[MAX_LINE];
    char *entry = list;
    enum kind first = NUMBER;
    visible_count = 0;
    snprintf(list, sizeof list, "%s", value);
    while (entry && visible_count < MAX_CARDS) {
        struct shown one;
        char *comma = strchr(entry, ',');
        bool found;
        if (comma)
            *comma = 0;
        /* Spaces before a number are passed over; with them, a UUID is none. */
        if (strspn(entry, " \t0123456789+-") == strlen(entry))
            while (isspace((unsigned char)*entry))
                entry++;
        for (char *end = entry + strlen(entry);
             end > entry && isspace((unsigned char)end[-1]);)
            *--end = 0;
        enum kind kind = kind_of(entry);
        if (!visible_count)
            first = kind;
        if (kind != first || (kind == MIG && visible_count))
            return;
        if (kind == NUMBER)
            found = find_number(entry, &one);
        else
            found = kind == UUID ? find_uuid(entry, &one) : find_mig(entry, &one);
        if (!found)
            return;
        for (int i = 0; i < visible_count; i++)
            if (visible[i].card == one.card) {
                visible_count = 0;
                is_repeated = true;
                return;
            }
        visible[visible_count++] = one;
        entry = comma ? comma + 1 : NULL;
    }
}

int cuInit(unsigned flags)
{
    if (flags)
        return INVALID_VALUE;
    if (is_started)
        return started_by == getpid() ? SUCCESS : NOT_INITIALIZED;
    refresh();
    if (machine->cuda_error)
        return machine->cuda_error;
    const char *order = getenv("CUDA_DEVICE_ORDER");
    const char *value = getenv("CUDA_VISIBLE_DEVICES");
    line_up(order && !strcmp(order, "PCI_BUS_ID"));
    if (value) {
        choose(value);
    } else {
        memcpy(visible, all, sizeof visible);
        visible_count = all_count;
    }
    if (!visible_count)
        return is_repeated ? INVALID_DEVICE : NO_DEVICE;
    started_by = getpid();
    is_started = true;
    return SUCCESS;
}

#define STARTED                                    \
    do {                                           \
        if (!is_started || started_by != getpid()) \
            return NOT_INITIALIZED;                \
    } while (0)

#define DEVICE(device)                               \
    do {                                             \
        STARTED;                                     \
        if ((device) < 0 || (device) >= visible_count)\
            return INVALID_DEVICE;                   \
    } while (0)

int cuDriverGetVersion(int *out)
{
    /* The only call that needs no cuInit. */
    if (!out)
        return INVALID_VALUE;
    refresh();
    *out = machine->cuda;
    return SUCCESS;
}

int cuDeviceGetCount(int *out)
{
    STARTED;
    *out = visible_count;
    return SUCCESS;
}

int cuDeviceGet(int *out, int ordinal)
{
    DEVICE(ordinal);
    *out = ordinal;
    return SUCCESS;
}

int cuDeviceGetName(char *out, int length, int device)
{
    char name[256] = "";
    DEVICE(device);
    if (!out || length < 1)
        return INVALID_VALUE;
    value_of(visible[device].text, "name", name, sizeof name);
    snprintf(out, (size_t)length, "%s", name);
    return SUCCESS;
}

static int put_uuid(uuid_t *out, int device, int instance)
{
    char text[96] = "";
    const char *at = text + 4; /* behind GPU- and MIG- */
    uuid_of(visible[device].text, instance, text, sizeof text);
    memset(out, 0, sizeof *out);
    for (int i = 0; i < 16 && at[0] && at[1]; i++, at += 2) {
        unsigned byte = 0;
        while (*at == '-')
            at++;
        if (sscanf(at, "%2x", &byte) != 1)
            return INVALID_VALUE;
        out->bytes[i] = (unsigned char)byte;
    }
    return SUCCESS;
}

/* The first version names the card, the second one the instance, where it is divided. */
int cuDeviceGetUuid(uuid_t *out, int device)
{
    DEVICE(device);
    return put_uuid(out, device, -1);
}

int cuDeviceGetUuid_v2(uuid_t *out, int device)
{
    DEVICE(device);
    return put_uuid(out, device, visible[device].instance);
}

int cuDeviceGetPCIBusId(char *out, int length, int device)
{
    char word[32] = "";
    unsigned domain = 0, bus = 0, number = 0, function = 0;
    DEVICE(device);
    if (length < 13)
        return INVALID_VALUE;
    value_of(visible[device].text, "bus", word, sizeof word);
    sscanf(word, "%x:%x:%x.%x", &domain, &bus, &number, &function);
    snprintf(out, (size_t)length, "%04x:%02x:%02x.%x", domain, bus, number, function);
    return SUCCESS;
}

int cuDeviceComputeCapability(int *major, int *minor, int device)
{
    char word[16] = "";
    DEVICE(device);
    value_of(visible[device].text, "cc", word, sizeof word);
    return sscanf(word, "%d.%d", major, minor) == 2 ? SUCCESS : INVALID_VALUE;
}

int cuDeviceGetAttribute(int *out, int attribute, int device)
{
    int major = 0, minor = 0;
    int code = cuDeviceComputeCapability(&major, &minor, device);
    if (code)
        return code;
    /* 75 and 76 are the compute capability's parts. */
    if (attribute != 75 && attribute != 76)
        return INVALID_VALUE;
    *out = attribute == 75 ? major : minor;
    return SUCCESS;
}

int cuDeviceTotalMem_v2(size_t *out, int device)
{
    unsigned long long total = 0;
    DEVICE(device);
    number_of(visible[device].text, "total", &total);
    *out = (size_t)total;
    return SUCCESS;
}

int cuCtxGetCurrent(void **out)
{
    STARTED;
    if (!out)
        return INVALID_VALUE;
    *out = NULL;
    return SUCCESS;
}

int cuGetErrorString(int code, const char **out)
{
    switch (code) {
    case 0: *out = "no error"; break;
    case 1: *out = "invalid argument"; break;
    case 3: *out = "initialization error"; break;
    case 100: *out = "no CUDA-capable device is detected"; break;
    case 101: *out = "invalid device ordinal"; break;
    case 802: *out = "system not yet initialized"; break;
    case 803: *out = "system has unsupported display driver / cuda driver combination"; break;
    case 999: *out = "unknown error"; break;
    default: *out = "unrecognized error code"; return INVALID_VALUE;
    }
    return SUCCESS;
}
