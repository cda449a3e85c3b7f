/* The files of src/report/page and the chart library, as they were when the program was built. */
#ifndef QD_REPORT_PAGE_ASSETS_H
#define QD_REPORT_PAGE_ASSETS_H

#include <stddef.h>

typedef struct page_asset {
    const char *data; /* static */
    size_t size;
} page_asset;

/* Style sheets, and scripts in the order in which they need each other, from 0 on; NULL data behind the last. */
page_asset qd_page_style(int index);
page_asset qd_page_script(int index);

/* The markup of the body, without the scripts. */
page_asset qd_page_markup(void);

/* The licence of the chart library, which asks to be in every copy. */
page_asset qd_page_licence(void);

#endif
