/*
 * A pickle as a tree of inert values. Nothing is imported and nothing is called: a global is a name out of the
 * caller's list, a call is a node that remembers what would have been called. Memory stays within a constant times
 * the size of the pickle, and values are never walked recursively, because a pickle can nest without end and contain
 * itself.
 * Source: docs.python.org, pickletools; the opcodes that protocol 2 writes for dicts, lists, tuples and scalars.
 */
#ifndef QD_FORMATS_PICKLE_H
#define QD_FORMATS_PICKLE_H

#include <quantdrift/context.h>

enum qd_pickle_kind {
    QD_PICKLE_NONE,
    QD_PICKLE_BOOL,
    QD_PICKLE_INT,
    QD_PICKLE_FLOAT,
    QD_PICKLE_TEXT,
    QD_PICKLE_TUPLE,
    QD_PICKLE_LIST,
    QD_PICKLE_DICT,      /* dict or OrderedDict: items are key, value, key, value … */
    QD_PICKLE_GLOBAL,    /* index into the list of globals */
    QD_PICKLE_CALL,      /* items: the global, the tuple of arguments */
    QD_PICKLE_PERSISTENT /* items: the persistent id */
};

typedef struct qd_pickle_value {
    enum qd_pickle_kind kind;
    union {
        bool truth;
        int64_t integer;
        double real;
        const char *text; /* NUL-terminated, without NUL in it; borrowed from the pickle's bytes */
        int global;
        struct {
            struct qd_pickle_value **items;
            size_t count, room;
        };
    };
} qd_pickle_value;

/* What a GLOBAL opcode may name. */
typedef struct qd_pickle_global {
    const char *module, *name;
    bool makes_dict; /* called without arguments, it is an empty dict */
} qd_pickle_global;

typedef struct qd_pickle qd_pickle; /* owns all values */

/*
 * Parses bytes[size] (overwritten, and borrowed as long as the result lives); `source` names the file in errors.
 * Errors: QD_ERR_INPUT (an opcode or global that is not allowed, damage), QD_ERR_MEMORY.
 */
enum qd_status qd_pickle_parse(qd_context *ctx, const char *source, char *bytes, size_t size,
                               const qd_pickle_global *globals, int global_count, qd_pickle **out);
void qd_pickle_destroy(qd_pickle *pickle);

const qd_pickle_value *qd_pickle_root(const qd_pickle *pickle);

/* "dict", "int" …: for errors. */
const char *qd_pickle_kind_name(enum qd_pickle_kind kind);

#endif
