/* Memory that ends where a forbidden page begins: reading one byte too far is a crash, not a lucky value. */
#ifndef TESTS_SUPPORT_GUARD_PAGE_H
#define TESTS_SUPPORT_GUARD_PAGE_H

#include <stddef.h>

typedef struct guard_page {
    unsigned char *base;
    size_t mapped_bytes;
    void *data; /* `bytes` bytes, the last one just before the forbidden page; zeroed */
} guard_page;

guard_page guard_page_create(size_t bytes);
void guard_page_destroy(guard_page *page);

#endif
