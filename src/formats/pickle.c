#include "formats/pickle.h"
#include "base/arena.h"
#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Opcodes by the names of Python's pickle module. */
enum opcode {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_POP = '0',
    OP_NONE = 'N',
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_BININT2 = 'M',
    OP_LONG1 = 0x8a,
    OP_BINFLOAT = 'G',
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_BINSTRING = 'T',
    OP_SHORT_BINSTRING = 'U',
    OP_BINUNICODE = 'X',
    OP_EMPTY_TUPLE = ')',
    OP_TUPLE = 't',
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_EMPTY_LIST = ']',
    OP_APPEND = 'a',
    OP_APPENDS = 'e',
    OP_EMPTY_DICT = '}',
    OP_SETITEM = 's',
    OP_SETITEMS = 'u',
    OP_GLOBAL = 'c',
    OP_REDUCE = 'R',
    OP_BUILD = 'b',
    OP_BINPERSID = 'Q',
    OP_BINPUT = 'q',
    OP_LONG_BINPUT = 'r',
    OP_BINGET = 'h',
    OP_LONG_BINGET = 'j',
    OP_PROTO = 0x80
};

/* torch.save writes protocol 2; what 4 and 5 add is neither needed nor understood here. */
#define PROTOCOL 2

/* Values are allocated in blocks that never move, so that pointers to them stay good. */
#define BLOCK_VALUES 512

typedef struct block {
    struct block *next;
    int used;
    qd_pickle_value values[BLOCK_VALUES];
} block;

struct qd_pickle {
    block *blocks;
    qd_pickle_value *root;
};

/* A growing array of values; a mark on the stack is a NULL. */
typedef struct list {
    qd_pickle_value **items;
    size_t count, room;
} list;

typedef struct machine {
    qd_context *ctx;
    const char *source;
    char *bytes;
    size_t size, at; /* `at`: the next byte to read */
    size_t opcode_at;
    const qd_pickle_global *globals;
    int global_count;
    qd_pickle *pickle;
    list stack;
    list memo; /* NULL: nothing stored under this number */
} machine;

static const char *const kind_names[] = {"None", "bool", "int",    "float",  "str",          "tuple",
                                         "list", "dict", "global", "object", "persistent id"};

const char *qd_pickle_kind_name(enum qd_pickle_kind kind)
{
    return kind_names[kind];
}

static enum qd_status refuse(const machine *m, const char *problem)
{
    return qd_fail(m->ctx, QD_ERR_INPUT, "reading '%s': its pickle, at byte %zu, %s; the file is damaged", m->source,
                   m->opcode_at, problem);
}

/* Items of stack and memo at the beginning: a state_dict of a few tensors. */
#define FIRST_ROOM 64

static enum qd_status fail_memory(const machine *m)
{
    return qd_fail(m->ctx, QD_ERR_MEMORY, "reading '%s': memory is short for its pickle", m->source);
}

/* ---- memory ---- */

/* Room for `count` >= 1 items. */
static enum qd_status list_reserve(const machine *m, list *l, size_t count)
{
    if (l->items && count <= l->room)
        return QD_OK;
    size_t room = 2 * l->room;
    if (room < count)
        room = count;
    qd_pickle_value **items = realloc(l->items, room * sizeof(qd_pickle_value *));
    if (!items) {
        fail_memory(m);
        return QD_ERR_MEMORY; /* said here for the analyzer */
    }
    memset(items + l->room, 0, (room - l->room) * sizeof(qd_pickle_value *));
    l->items = items;
    l->room = room;
    return QD_OK;
}

static enum qd_status push(machine *m, qd_pickle_value *value)
{
    QD_TRY(list_reserve(m, &m->stack, m->stack.count + 1));
    m->stack.items[m->stack.count++] = value;
    return QD_OK;
}

static enum qd_status new_value(machine *m, enum qd_pickle_kind kind, qd_pickle_value **out)
{
    block *b = m->pickle->blocks;
    if (!b || b->used == BLOCK_VALUES) {
        b = qd_calloc(1, sizeof *b);
        if (!b)
            return fail_memory(m);
        b->next = m->pickle->blocks;
        m->pickle->blocks = b;
    }
    *out = &b->values[b->used++];
    (*out)->kind = kind;
    return QD_OK;
}

/* A new value on the stack. */
static enum qd_status push_new(machine *m, enum qd_pickle_kind kind, qd_pickle_value **out)
{
    QD_TRY(new_value(m, kind, out));
    return push(m, *out);
}

static bool owns_items(enum qd_pickle_kind kind)
{
    return kind == QD_PICKLE_TUPLE || kind == QD_PICKLE_LIST || kind == QD_PICKLE_DICT || kind == QD_PICKLE_CALL ||
           kind == QD_PICKLE_PERSISTENT;
}

/* Moves the uppermost `count` values of the stack behind what `to` holds. */
static enum qd_status move_items(machine *m, size_t count, qd_pickle_value *to)
{
    list l = {to->items, to->count, to->room};
    if (count == 0)
        return QD_OK;
    QD_TRY(list_reserve(m, &l, l.count + count));
    m->stack.count -= count;
    memcpy(l.items + l.count, m->stack.items + m->stack.count, count * sizeof(qd_pickle_value *));
    to->items = l.items;
    to->count = l.count + count;
    to->room = l.room;
    return QD_OK;
}

/* ---- reading ---- */

static enum qd_status need(const machine *m, size_t count)
{
    return m->size - m->at >= count ? QD_OK : refuse(m, "ends early");
}

/* `count` little-endian bytes, sign-extended from `count` bytes when `is_signed`. */
static enum qd_status read_int(machine *m, int count, bool is_signed, int64_t *out)
{
    uint64_t value = 0;
    QD_TRY(need(m, (size_t)count));
    for (int i = 0; i < count; i++)
        value |= (uint64_t)(unsigned char)m->bytes[m->at++] << 8 * i;
    if (is_signed && count > 0 && count < 8 && value >> (8 * count - 1))
        value |= UINT64_MAX << 8 * count;
    *out = (int64_t)value;
    return QD_OK;
}

static enum qd_status push_int(machine *m, int count, bool is_signed)
{
    qd_pickle_value *value = NULL;
    int64_t integer = 0;
    QD_TRY(read_int(m, count, is_signed, &integer));
    QD_TRY(push_new(m, QD_PICKLE_INT, &value));
    value->integer = integer;
    return QD_OK;
}

static enum qd_status push_long(machine *m)
{
    int64_t count = 0;
    QD_TRY(read_int(m, 1, false, &count));
    if (count > 8)
        return refuse(m, "holds an integer of more than 64 bits");
    return push_int(m, (int)count, true);
}

static enum qd_status push_float(machine *m)
{
    qd_pickle_value *value = NULL;
    uint64_t bits = 0;
    QD_TRY(need(m, 8));
    for (int i = 0; i < 8; i++) /* big-endian, unlike everything else */
        bits = bits << 8 | (unsigned char)m->bytes[m->at++];
    QD_TRY(push_new(m, QD_PICKLE_FLOAT, &value));
    memcpy(&value->real, &bits, sizeof bits);
    return QD_OK;
}

static enum qd_status push_bool(machine *m, bool truth)
{
    qd_pickle_value *value = NULL;
    QD_TRY(push_new(m, QD_PICKLE_BOOL, &value));
    value->truth = truth;
    return QD_OK;
}

/* A text whose length takes `length_bytes`. It moves one byte to the front, over its own length, so that a NUL fits
 * behind it. */
static enum qd_status push_text(machine *m, int length_bytes)
{
    qd_pickle_value *value = NULL;
    int64_t length = 0;
    QD_TRY(read_int(m, length_bytes, false, &length));
    QD_TRY(need(m, (size_t)length));
    char *text = m->bytes + m->at - 1;
    memmove(text, text + 1, (size_t)length);
    text[length] = '\0';
    m->at += (size_t)length;
    if (strlen(text) != (size_t)length)
        return refuse(m, "holds a text with a NUL in it");
    QD_TRY(push_new(m, QD_PICKLE_TEXT, &value));
    value->text = text;
    return QD_OK;
}

/* The next line, its newline replaced by a NUL. */
static enum qd_status read_line(machine *m, const char **out)
{
    char *line = m->bytes + m->at;
    char *end = memchr(line, '\n', m->size - m->at);
    if (!end)
        return refuse(m, "ends early");
    *end = '\0';
    m->at += (size_t)(end - line) + 1;
    *out = line;
    return QD_OK;
}

static enum qd_status push_global(machine *m)
{
    const char *module = NULL, *name = NULL;
    qd_pickle_value *value = NULL;
    QD_TRY(read_line(m, &module));
    QD_TRY(read_line(m, &name));
    for (int i = 0; i < m->global_count; i++) {
        if (strcmp(m->globals[i].module, module) != 0 || strcmp(m->globals[i].name, name) != 0)
            continue;
        QD_TRY(push_new(m, QD_PICKLE_GLOBAL, &value));
        value->global = i;
        return QD_OK;
    }
    return qd_fail(m->ctx, QD_ERR_INPUT,
                   "reading '%s': it asks for Python's '%.80s.%.80s', and only tensors in dicts are read; save "
                   "model.state_dict() alone with torch.save",
                   m->source, module, name);
}

/* ---- the stack ---- */

/* The uppermost `count` values must be values, no marks. */
static enum qd_status need_values(const machine *m, size_t count)
{
    if (m->stack.count < count)
        return refuse(m, "takes more values than there are");
    for (size_t i = m->stack.count - count; i < m->stack.count; i++)
        if (!m->stack.items[i])
            return refuse(m, "takes a mark for a value");
    return QD_OK;
}

static qd_pickle_value *top(const machine *m, size_t below)
{
    return m->stack.items[m->stack.count - 1 - below];
}

/* How many values lie above the uppermost mark. */
static enum qd_status count_to_mark(const machine *m, size_t *out)
{
    size_t count = 0;
    while (count < m->stack.count && top(m, count))
        count++;
    if (count == m->stack.count)
        return refuse(m, "looks for a mark that is not there");
    *out = count;
    return QD_OK;
}

static enum qd_status push_tuple(machine *m, size_t count)
{
    qd_pickle_value *value = NULL;
    QD_TRY(need_values(m, count));
    QD_TRY(new_value(m, QD_PICKLE_TUPLE, &value));
    QD_TRY(move_items(m, count, value));
    return push(m, value);
}

static enum qd_status push_marked_tuple(machine *m)
{
    size_t count = 0;
    qd_pickle_value *value = NULL;
    QD_TRY(count_to_mark(m, &count));
    QD_TRY(new_value(m, QD_PICKLE_TUPLE, &value));
    QD_TRY(move_items(m, count, value));
    m->stack.items[m->stack.count - 1] = value; /* in place of the mark */
    return QD_OK;
}

/* Adds the uppermost `count` values to the list or dict below them (`marked`: below a mark). */
static enum qd_status add_items(machine *m, enum qd_pickle_kind kind, size_t count, bool marked)
{
    const size_t below = count + (marked ? 1 : 0);
    if (m->stack.count <= below || !top(m, below))
        return refuse(m, "adds values to nothing");
    qd_pickle_value *container = top(m, below);
    if (container->kind != kind || (kind == QD_PICKLE_DICT && count % 2 != 0))
        return refuse(m, kind == QD_PICKLE_DICT ? "sets items of what is no dict" : "appends to what is no list");
    QD_TRY(move_items(m, count, container));
    if (marked)
        m->stack.count--;
    return QD_OK;
}

static enum qd_status add_marked_items(machine *m, enum qd_pickle_kind kind)
{
    size_t count = 0;
    QD_TRY(count_to_mark(m, &count));
    return add_items(m, kind, count, true);
}

static enum qd_status add_fixed_items(machine *m, enum qd_pickle_kind kind, size_t count)
{
    QD_TRY(need_values(m, count));
    return add_items(m, kind, count, false);
}

static enum qd_status reduce(machine *m)
{
    qd_pickle_value *value = NULL;
    QD_TRY(need_values(m, 2));
    const qd_pickle_value *callable = top(m, 1), *arguments = top(m, 0);
    if (callable->kind != QD_PICKLE_GLOBAL || arguments->kind != QD_PICKLE_TUPLE)
        return refuse(m, "calls what is no function");
    if (m->globals[callable->global].makes_dict && arguments->count == 0) {
        m->stack.count -= 2;
        return push_new(m, QD_PICKLE_DICT, &value);
    }
    QD_TRY(new_value(m, QD_PICKLE_CALL, &value));
    QD_TRY(move_items(m, 2, value));
    return push(m, value);
}

/* Attributes of an object, such as a state_dict's _metadata: nothing here looks at them. */
static enum qd_status build(machine *m)
{
    QD_TRY(need_values(m, 2));
    m->stack.count--;
    return QD_OK;
}

static enum qd_status push_persistent(machine *m)
{
    qd_pickle_value *value = NULL;
    QD_TRY(need_values(m, 1));
    QD_TRY(new_value(m, QD_PICKLE_PERSISTENT, &value));
    QD_TRY(move_items(m, 1, value));
    return push(m, value);
}

static enum qd_status pop(machine *m)
{
    if (m->stack.count == 0)
        return refuse(m, "takes more values than there are");
    m->stack.count--;
    return QD_OK;
}

/* ---- memo ---- */

static enum qd_status put(machine *m, int index_bytes)
{
    int64_t index = 0;
    QD_TRY(read_int(m, index_bytes, false, &index));
    QD_TRY(need_values(m, 1));
    /* Python numbers them in order, and each takes two bytes at least: larger numbers would only cost memory. */
    if ((uint64_t)index >= m->size)
        return refuse(m, "numbers a value beyond all there are");
    QD_TRY(list_reserve(m, &m->memo, (size_t)index + 1));
    m->memo.items[index] = top(m, 0);
    return QD_OK;
}

static enum qd_status get(machine *m, int index_bytes)
{
    int64_t index = 0;
    QD_TRY(read_int(m, index_bytes, false, &index));
    if ((uint64_t)index >= m->memo.room || !m->memo.items[index])
        return refuse(m, "refers to a value that was not stored");
    return push(m, m->memo.items[index]);
}

/* ---- running ---- */

static enum qd_status check_protocol(machine *m)
{
    int64_t protocol = 0;
    QD_TRY(read_int(m, 1, false, &protocol));
    if (protocol != PROTOCOL)
        return qd_fail(m->ctx, QD_ERR_INPUT,
                       "reading '%s': expected pickle protocol %d, found %lld; save it with torch.save's default",
                       m->source, PROTOCOL, (long long)protocol);
    return QD_OK;
}

static enum qd_status step(machine *m, enum opcode opcode)
{
    qd_pickle_value *value = NULL;
    switch (opcode) {
    case OP_PROTO:
        return check_protocol(m);
    case OP_MARK:
        return push(m, NULL);
    case OP_POP:
        return pop(m);
    case OP_NONE:
        return push_new(m, QD_PICKLE_NONE, &value);
    case OP_NEWTRUE:
        return push_bool(m, true);
    case OP_NEWFALSE:
        return push_bool(m, false);
    case OP_BININT:
        return push_int(m, 4, true);
    case OP_BININT1:
        return push_int(m, 1, false);
    case OP_BININT2:
        return push_int(m, 2, false);
    case OP_LONG1:
        return push_long(m);
    case OP_BINFLOAT:
        return push_float(m);
    case OP_SHORT_BINSTRING:
        return push_text(m, 1);
    case OP_BINSTRING:
    case OP_BINUNICODE:
        return push_text(m, 4);
    case OP_EMPTY_TUPLE:
        return push_tuple(m, 0);
    case OP_TUPLE1:
        return push_tuple(m, 1);
    case OP_TUPLE2:
        return push_tuple(m, 2);
    case OP_TUPLE3:
        return push_tuple(m, 3);
    case OP_TUPLE:
        return push_marked_tuple(m);
    case OP_EMPTY_LIST:
        return push_new(m, QD_PICKLE_LIST, &value);
    case OP_APPEND:
        return add_fixed_items(m, QD_PICKLE_LIST, 1);
    case OP_APPENDS:
        return add_marked_items(m, QD_PICKLE_LIST);
    case OP_EMPTY_DICT:
        return push_new(m, QD_PICKLE_DICT, &value);
    case OP_SETITEM:
        return add_fixed_items(m, QD_PICKLE_DICT, 2);
    case OP_SETITEMS:
        return add_marked_items(m, QD_PICKLE_DICT);
    case OP_GLOBAL:
        return push_global(m);
    case OP_REDUCE:
        return reduce(m);
    case OP_BUILD:
        return build(m);
    case OP_BINPERSID:
        return push_persistent(m);
    case OP_BINPUT:
        return put(m, 1);
    case OP_LONG_BINPUT:
        return put(m, 4);
    case OP_BINGET:
        return get(m, 1);
    case OP_LONG_BINGET:
        return get(m, 4);
    case OP_STOP:
        break;
    }
    char problem[64];
    snprintf(problem, sizeof problem, "has opcode 0x%02x, which torch.save does not write", (unsigned)opcode);
    return refuse(m, problem);
}

static enum qd_status run(machine *m)
{
    for (;;) {
        m->opcode_at = m->at;
        QD_TRY(need(m, 1));
        const unsigned char opcode = (unsigned char)m->bytes[m->at++];
        if (opcode == OP_STOP)
            break;
        QD_TRY(step(m, (enum opcode)opcode));
    }
    if (m->at != m->size)
        return refuse(m, "goes on behind its end");
    if (m->stack.count != 1 || !m->stack.items[0])
        return refuse(m, "leaves other than one value");
    m->pickle->root = m->stack.items[0];
    return QD_OK;
}

enum qd_status qd_pickle_parse(qd_context *ctx, const char *source, char *bytes, size_t size,
                               const qd_pickle_global *globals, int global_count, qd_pickle **out)
{
    machine m = {.ctx = ctx,
                 .source = source,
                 .bytes = bytes,
                 .size = size,
                 .globals = globals,
                 .global_count = global_count,
                 .pickle = qd_calloc(1, sizeof(qd_pickle))};
    /* Never NULL from here on; they grow as wanted. */
    m.stack = (list){.items = qd_calloc(FIRST_ROOM, sizeof(qd_pickle_value *)), .room = FIRST_ROOM};
    m.memo = (list){.items = qd_calloc(FIRST_ROOM, sizeof(qd_pickle_value *)), .room = FIRST_ROOM};
    enum qd_status status = m.pickle && m.stack.items && m.memo.items ? run(&m) : fail_memory(&m);
    free(m.stack.items);
    free(m.memo.items);
    if (status == QD_OK)
        *out = m.pickle;
    else
        qd_pickle_destroy(m.pickle);
    return status;
}

void qd_pickle_destroy(qd_pickle *pickle)
{
    if (!pickle)
        return;
    for (block *b = pickle->blocks, *next; b; b = next) {
        next = b->next;
        for (int i = 0; i < b->used; i++)
            if (owns_items(b->values[i].kind))
                free(b->values[i].items);
        free(b);
    }
    free(pickle);
}

const qd_pickle_value *qd_pickle_root(const qd_pickle *pickle)
{
    return pickle->root;
}
