/* The machine that both stand-ins show, read from the text file STANDIN_MACHINE.

   A line is a word and what belongs to it; unknown words are ignored:

     driver 570.133.07          the driver's version
     cuda 12080                 the newest CUDA that it runs, as NVML writes it
     init_error 9               what nvmlInit returns
     cuda_error 999             what cuInit returns
     generation 2               a new number makes NVML forget that it was started
     error FUNCTION 13          what a function of NVML returns, for every card
     hang FUNCTION              a function of NVML that does not return while this stands
     gpu key=value;key=value    a card; the first is NVML's number 0
     process gpu=0;pid=7;kind=compute;memory=1024;name=/usr/bin/python3
                                on the first of the cards above

   Keys of a card: name, uuid, bus, device (pciDeviceId, e.g. 0x220410de), cc (8.6),
   total, used, reserved, free, utilization, memory_utilization, temperature, slowdown,
   power and limit (milliwatts), sm_clock, memory_clock, reasons (bits), ecc, rows,
   display, mig, mig_uuids (a,b), speed (for CUDA's FASTEST_FIRST), lost, unknown (the
   driver does not know the card), handle_error (of HandleByIndex), nomem2 (no version 2
   of the memory), no_processes, errors (FUNCTION:code,FUNCTION:code). What is not given
   is not supported by the card.

   The file is read again whenever it has been replaced. */

#ifndef MACHINE_H
#define MACHINE_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_CARDS 32
#define MAX_PROCESSES 256
#define MAX_RULES 64
#define MAX_LINE 4096

struct card {
    char text[MAX_LINE];
};

struct process {
    char text[MAX_LINE / 4];
    int card;
    unsigned pid;
    bool compute;
};

struct rule {
    char function[96];
    int code;
};

struct machine {
    char driver[80];
    int cuda;
    int init_error;
    int cuda_error;
    int generation;
    int cards_count;
    struct card cards[MAX_CARDS];
    int processes_count;
    struct process processes[MAX_PROCESSES];
    int errors_count;
    struct rule errors[MAX_RULES];
    int hangs_count;
    struct rule hangs[MAX_RULES];
};

/* Another thread may still be reading an old one, so it is never freed. */
static struct machine no_machine;
static struct machine *machine = &no_machine;
static struct stat machine_stat;
static pthread_mutex_t machine_lock = PTHREAD_MUTEX_INITIALIZER;

/* Copy the value of a key of `key=value;key=value`; false where it is not given. */
static bool value_of(const char *text, const char *key, char *out, size_t size)
{
    size_t length = strlen(key);
    const char *at = text;
    while (at && *at) {
        const char *end = strchr(at, ';');
        size_t part = end ? (size_t)(end - at) : strlen(at);
        if (part > length && !strncmp(at, key, length) && at[length] == '=') {
            size_t n = part - length - 1;
            if (n >= size)
                n = size - 1;
            memcpy(out, at + length + 1, n);
            out[n] = 0;
            return true;
        }
        at = end ? end + 1 : NULL;
    }
    return false;
}

static bool number_of(const char *text, const char *key, unsigned long long *out)
{
    char word[64];
    if (!value_of(text, key, word, sizeof word))
        return false;
    *out = strtoull(word, NULL, 0);
    return true;
}

static bool flag_of(const char *text, const char *key)
{
    unsigned long long number = 0;
    return number_of(text, key, &number) && number != 0;
}

static void read_process(struct machine *into, const char *rest)
{
    if (into->processes_count == MAX_PROCESSES)
        return;
    struct process *one = &into->processes[into->processes_count++];
    unsigned long long number = 0;
    char kind[16] = "";
    snprintf(one->text, sizeof one->text, "%s", rest);
    one->card = number_of(rest, "gpu", &number) ? (int)number : -1;
    number = 0;
    number_of(rest, "pid", &number);
    one->pid = (unsigned)number;
    value_of(rest, "kind", kind, sizeof kind);
    one->compute = !strcmp(kind, "compute");
}

static void read_rule(const char *rest, struct rule *rules, int *count)
{
    if (*count == MAX_RULES)
        return;
    struct rule *one = &rules[(*count)++];
    one->code = 0;
    sscanf(rest, "%95s %d", one->function, &one->code);
}

static void read_line(struct machine *into, char *line)
{
    char *rest = strchr(line, ' ');
    if (!rest)
        return;
    *rest++ = 0;
    if (!strcmp(line, "driver"))
        snprintf(into->driver, sizeof into->driver, "%s", rest);
    else if (!strcmp(line, "cuda"))
        into->cuda = atoi(rest);
    else if (!strcmp(line, "init_error"))
        into->init_error = atoi(rest);
    else if (!strcmp(line, "cuda_error"))
        into->cuda_error = atoi(rest);
    else if (!strcmp(line, "generation"))
        into->generation = atoi(rest);
    else if (!strcmp(line, "error"))
        read_rule(rest, into->errors, &into->errors_count);
    else if (!strcmp(line, "hang"))
        read_rule(rest, into->hangs, &into->hangs_count);
    else if (!strcmp(line, "process"))
        read_process(into, rest);
    else if (!strcmp(line, "gpu") && into->cards_count < MAX_CARDS)
        snprintf(into->cards[into->cards_count++].text, MAX_LINE, "%s", rest);
}

/* Read the file, if it is another than the last time. */
static void refresh(void)
{
    const char *path = getenv("STANDIN_MACHINE");
    struct stat now;
    if (!path || stat(path, &now))
        return;
    pthread_mutex_lock(&machine_lock);
    if (machine == &no_machine || now.st_ino != machine_stat.st_ino
        || now.st_size != machine_stat.st_size
        || now.st_mtim.tv_sec != machine_stat.st_mtim.tv_sec
        || now.st_mtim.tv_nsec != machine_stat.st_mtim.tv_nsec) {
        FILE *file = fopen(path, "r");
        char line[MAX_LINE + 16];
        if (file) {
            struct machine *into = calloc(1, sizeof *into);
            while (into && fgets(line, sizeof line, file)) {
                line[strcspn(line, "\n")] = 0;
                read_line(into, line);
            }
            fclose(file);
            machine_stat = now;
            if (into)
                machine = into;
        }
    }
    pthread_mutex_unlock(&machine_lock);
}

#endif
