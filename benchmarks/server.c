/* A loopback server that is never the limit: canned bytes, one thread, epoll.
 *
 * Standard input holds the answers (see `table_of` in server.py), then stays open;
 * when it closes, the server ends. The port is printed as the first line.
 *
 * The first part of a path says how to answer, its letters joined with '-':
 *   s201  a stream has 201 pieces       fail  always 500
 *   l50   after 50 ms                   e10   500 for 10 % of the requests
 *   r10   10 % are closed unanswered    c10   10 % are cut in the middle
 *   b     500 while the switch is on: GET /switch/on, GET /switch/off
 * GET /count tells how many POSTs came and what they cost the server.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { NAMES = 32, KEPT = 256, ROOM = 65536, EVENTS = 512 };

struct bytes { char *at; size_t size; };
struct answer { char name[32]; int streaming; struct bytes begin, piece, end; };
/* What is sent: `size` bytes, one send for each of the `parts` that end at `ends`. */
struct made { struct answer *of; int pieces; struct bytes all; size_t *ends; int parts; };
struct shape { int pieces, latency, errors, resets, cuts, fails; };
struct link {
    int fd, waiting, dead, writing, close_after;
    size_t have, sent, limit;
    int part;
    struct made *out;
    double due;
    char in[ROOM];
};

static struct answer answers[NAMES];
static int answer_count;
static struct made kept[KEPT];
static int kept_count;
static struct link **heap;
static size_t heap_size, heap_room;
static int poll_fd, switched;
static unsigned seed = 7;
static long requests;
static struct made *failure, *missing, counted, *plain;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void *need(void *memory)
{
    if (!memory) {
        perror("memory");
        exit(1);
    }
    return memory;
}

static struct bytes read_bytes(size_t size)
{
    struct bytes found = {need(malloc(size + 1)), size};
    if (fread(found.at, 1, size, stdin) != size) exit(1);
    return found;
}

static void read_table(void)
{
    char line[256];
    while (fgets(line, sizeof line, stdin) && line[0] != '.') {
        struct answer *one = &answers[answer_count++];
        size_t a, b, c;
        if (answer_count > NAMES ||
            sscanf(line, "%31s %d %zu %zu %zu", one->name, &one->streaming, &a, &b, &c) != 5)
            exit(1);
        one->begin = read_bytes(a);
        one->piece = read_bytes(b);
        one->end = read_bytes(c);
    }
}

static struct made *make(struct answer *of, int pieces)
{
    if (!of->piece.size) pieces = 0;
    for (int i = 0; i < kept_count; i++)
        if (kept[i].of == of && kept[i].pieces == pieces) return &kept[i];
    if (kept_count == KEPT) exit(1);
    struct made *one = &kept[kept_count++];
    size_t size = of->begin.size + of->end.size + of->piece.size * pieces;
    *one = (struct made){of, pieces, {need(malloc(size + 1)), size}, NULL, 0};
    one->ends = need(malloc(sizeof(size_t) * (pieces + 2)));
    char *at = one->all.at;
    for (int i = 0; i < pieces + 2; i++) {
        struct bytes *next = i == 0 ? &of->begin : i <= pieces ? &of->piece : &of->end;
        memcpy(at, next->at, next->size);
        at += next->size;
        if (next->size) one->ends[one->parts++] = at - one->all.at;
    }
    return one;
}

static struct made *named(const char *name, size_t size, int streaming, int pieces)
{
    for (int i = 0; i < answer_count; i++)
        if (answers[i].streaming == streaming && strlen(answers[i].name) == size &&
            !memcmp(answers[i].name, name, size))
            return make(&answers[i], pieces);
    return NULL;
}

static void count_up(void)
{
    static char text[512], body[128];
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
                 used.ru_utime.tv_usec + used.ru_stime.tv_usec;
    static size_t end;
    int size = snprintf(body, sizeof body, "{\"requests\":%ld,\"cpu_us\":%.0f}", requests, cpu);
    end = snprintf(text, sizeof text,
                   "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                   "content-length: %d\r\n\r\n%s", size, body);
    counted = (struct made){NULL, 0, {text, end}, &end, 1};
}

static void heap_push(struct link *one)
{
    if (heap_size == heap_room)
        heap = need(realloc(heap, sizeof *heap * (heap_room = heap_room * 2 + 64)));
    size_t i = heap_size++;
    while (i && heap[(i - 1) / 2]->due > one->due) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = one;
}

static struct link *heap_pop(void)
{
    struct link *first = heap[0], *last = heap[--heap_size];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < heap_size) {
        if (child + 1 < heap_size && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= last->due) break;
        heap[i] = heap[child];
        i = child;
    }
    if (heap_size) heap[i] = last;
    return first;
}

static void drop(struct link *one)
{
    if (!one->dead) close(one->fd);
    one->dead = 1;
    if (!one->waiting) free(one);
}

static void watch(struct link *one, int writing)
{
    if (one->writing == writing) return;
    one->writing = writing;
    struct epoll_event event = {EPOLLIN | (writing ? EPOLLOUT : 0), {.ptr = one}};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, one->fd, &event);
}

/* Send what is left; 1 when all is out, 0 when the socket is full, -1 when it is gone. */
static int flush(struct link *one)
{
    while (one->sent < one->limit) {
        size_t end = one->out->ends[one->part];
        if (end > one->limit) end = one->limit;
        ssize_t n = send(one->fd, one->out->all.at + one->sent, end - one->sent, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        one->sent += n;
        if (one->sent == end) one->part++;
    }
    one->out = NULL;
    return one->close_after ? -1 : 1;
}

static int chance(int percent) { return percent && rand_r(&seed) % 100 < percent; }

static struct shape shape_of(const char *text, size_t size)
{
    struct shape found = {1, 0, 0, 0, 0, 0};
    for (const char *at = text, *end = text + size; at < end; at++) {
        size_t left = end - at;
        int value = left > 1 ? atoi(at + 1) : 0;
        if (left >= 4 && !memcmp(at, "fail", 4)) found.fails = 1;
        else if (*at == 's') found.pieces = value;
        else if (*at == 'l') found.latency = value;
        else if (*at == 'e') found.errors = value;
        else if (*at == 'r') found.resets = value;
        else if (*at == 'c') found.cuts = value;
        else if (*at == 'b') found.fails |= switched;
        if (!(at = memchr(at, '-', left))) break;
    }
    return found;
}

static int has(const char *in, size_t size, const char *key, const char *value)
{
    const char *at = memmem(in, size, key, strlen(key));
    if (!at) return 0;
    at += strlen(key);
    while (at < in + size && (*at == ' ' || *at == ':')) at++;
    return at + strlen(value) <= in + size && !memcmp(at, value, strlen(value));
}

/* Decide what to answer; the request is `in`, its body the last `body` bytes. */
static void choose(struct link *one, const char *body, size_t size)
{
    char *path = memchr(one->in, ' ', one->have), *end;
    one->sent = one->part = one->close_after = 0;
    one->out = missing;
    one->due = 0;
    if (path && (end = memchr(path + 1, ' ', one->in + one->have - path - 1))) {
        char *shape = path + 2, *stop = memchr(shape, '/', end - shape);
        char *last = memrchr(path, '/', end - path) + 1;
        size_t length = end - last;
        if (!stop) stop = end;
        struct shape how = shape_of(shape, stop - shape);
        if (one->in[0] != 'P') how.errors = how.resets = how.cuts = how.latency = 0;
        int chat = length == 4 && !memcmp(last, "chat", 4);
        int streaming = chat ? !has(body, size, "\"stream\"", "false")
                             : has(body, size, "\"stream\"", "true");
        struct made *found = named(last, length, streaming, how.pieces);
        if (one->in[0] == 'P') requests++;
        if (!memcmp(shape, "count", 5)) { count_up(); one->out = &counted; }
        else if (!memcmp(shape, "switch", 6)) { switched = last[1] == 'n'; one->out = plain; }
        else if (how.fails || chance(how.errors)) one->out = failure;
        else if (found) one->out = found;
        if (how.latency) one->due = now_ms() + how.latency;
        one->limit = one->out->all.size;
        if (one->out == found && chance(how.resets)) { one->limit = 0; one->close_after = 1; }
        else if (one->out == found && chance(how.cuts)) {
            one->limit = one->out->all.size / 2;
            one->close_after = 1;
        }
        return;
    }
    one->limit = one->out->all.size;
}

/* Answer what has been read whole; -1 when the connection is to be closed. */
static int serve(struct link *one)
{
    while (!one->out) {
        char *body = memmem(one->in, one->have, "\r\n\r\n", 4);
        if (!body) return one->have == ROOM ? -1 : 1;
        body += 4;
        size_t length = 0;
        for (char *at = one->in; (at = memchr(at, '\n', body - at - 2));) {
            if (!strncasecmp(++at, "content-length:", 15)) {
                length = strtoul(at + 15, NULL, 10);
                break;
            }
        }
        size_t all = body - one->in + length;
        if (all > ROOM) return -1;
        if (one->have < all) return 1;
        choose(one, body, length);
        memmove(one->in, one->in + all, one->have - all);
        one->have -= all;
        if (one->due) {
            one->waiting = 1;
            heap_push(one);
            return 1;
        }
        int done = flush(one);
        if (done < 0) return -1;
        watch(one, !done);
    }
    return 1;
}

static void ready(struct link *one, unsigned events)
{
    if (events & EPOLLIN) {
        ssize_t n = recv(one->fd, one->in + one->have, ROOM - one->have, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) { drop(one); return; }
        if (n > 0) one->have += n;
    } else if (events & (EPOLLERR | EPOLLHUP)) { drop(one); return; }
    if (one->out && !one->waiting && (events & EPOLLOUT)) {
        int done = flush(one);
        if (done < 0) { drop(one); return; }
        watch(one, !done);
    }
    if (!one->out && serve(one) < 0) drop(one);
}

static void welcome(int listener)
{
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct link *one = need(malloc(sizeof *one));
        memset(one, 0, offsetof(struct link, in));
        one->fd = fd;
        struct epoll_event event = {EPOLLIN, {.ptr = one}};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void wake_due(void)
{
    double now = heap_size ? now_ms() : 0;
    while (heap_size && heap[0]->due <= now) {
        struct link *one = heap_pop();
        one->waiting = 0;
        if (one->dead) { free(one); continue; }
        int done = flush(one);
        if (done < 0) { drop(one); continue; }
        watch(one, !done);
        if (done && serve(one) < 0) drop(one);
    }
}

int main(void)
{
    read_table();
    failure = named("failure", 7, 0, 0);
    missing = named("missing", 7, 0, 0);
    plain = named("version", 7, 0, 0);
    if (!failure || !missing || !plain) return 1;
    signal(SIGPIPE, SIG_IGN);
    poll_fd = epoll_create1(0);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (void *)&address, size) || listen(listener, 4096)) return 1;
    getsockname(listener, (void *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event events[EVENTS], event = {EPOLLIN, {.ptr = &listener}};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = stdin;
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, 0, &event);
    for (;;) {
        int wait = -1;
        if (heap_size) {
            double left = heap[0]->due - now_ms();
            wait = left > 0 ? (int)left + 1 : 0;
        }
        int count = epoll_wait(poll_fd, events, EVENTS, wait);
        for (int i = 0; i < count; i++) {
            char rest[64];
            if (events[i].data.ptr == &listener) welcome(listener);
            else if (events[i].data.ptr == stdin) {
                if (read(0, rest, sizeof rest) <= 0) return 0;
            } else ready(events[i].data.ptr, events[i].events);
        }
        wake_due();
    }
}
