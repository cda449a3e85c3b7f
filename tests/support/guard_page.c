#include "support/guard_page.h"

#include <criterion/criterion.h>
#include <sys/mman.h>
#include <unistd.h>

guard_page guard_page_create(size_t bytes)
{
    size_t side = (size_t)sysconf(_SC_PAGESIZE);
    size_t usable = (bytes + side - 1) / side * side;
    guard_page page = {.mapped_bytes = usable + side};

    page.base = mmap(NULL, page.mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)page.base, MAP_FAILED);
    cr_assert_eq(mprotect(page.base + usable, side, PROT_NONE), 0);
    page.data = page.base + usable - bytes;
    return page;
}

void guard_page_destroy(guard_page *page)
{
    munmap(page->base, page->mapped_bytes);
    *page = (guard_page){0};
}
