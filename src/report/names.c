#include "report/names.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a: short names, no adversary worth more (a crowded table is slow, not wrong). */
static uint64_t hash_text(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

/* The slot of `text`, or the free one where it would stand. */
static size_t find_slot(const qd_names *names, const char *text)
{
    size_t slot = hash_text(text) & (names->slot_count - 1);
    while (names->slots[slot] != 0 && strcmp(names->texts[names->slots[slot] - 1], text) != 0)
        slot = (slot + 1) & (names->slot_count - 1);
    return slot;
}

/* Room for one more name, with the table at most half full. */
static bool make_room(qd_names *names)
{
    if (names->count < names->capacity)
        return true;
    const int capacity = names->capacity > 0 ? names->capacity * 2 : 256;
    char **texts = realloc((void *)names->texts, (size_t)capacity * sizeof *texts);
    if (!texts)
        return false;
    names->texts = texts;
    int32_t *slots = calloc((size_t)capacity * 2, sizeof *slots);
    if (!slots)
        return false;
    free(names->slots);
    names->slots = slots;
    names->slot_count = (size_t)capacity * 2;
    names->capacity = capacity;
    for (int i = 0; i < names->count; i++)
        names->slots[find_slot(names, names->texts[i])] = i + 1;
    return true;
}

int qd_names_find(const qd_names *names, const char *text)
{
    return names->slot_count > 0 ? names->slots[find_slot(names, text)] - 1 : -1;
}

int qd_names_add(qd_names *names, const char *text)
{
    const int known = qd_names_find(names, text);
    if (known >= 0)
        return known;
    if (!make_room(names))
        return -1;
    char *copy = strdup(text);
    if (!copy)
        return -1;
    names->texts[names->count] = copy;
    names->slots[find_slot(names, text)] = names->count + 1;
    return names->count++;
}

const char *qd_names_text(const qd_names *names, int number)
{
    return number >= 0 && number < names->count ? names->texts[number] : "";
}

void qd_names_free(qd_names *names)
{
    for (int i = 0; i < names->count; i++)
        free(names->texts[i]);
    free((void *)names->texts);
    free(names->slots);
    *names = (qd_names){0};
}
