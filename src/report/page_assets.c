/* Embeds the page's sources: the assembler includes the bytes, so that they stay files of their own. The Makefile
 * builds from the top of the tree, which the paths are relative to, and knows what this object depends on. */
#include "report/page_assets.h"
#include <stdint.h>

#define EMBED(name, path)                                                                                            \
    __asm__(".pushsection .rodata\n"                                                                                 \
            ".global qd_asset_" #name "\n.hidden qd_asset_" #name "\nqd_asset_" #name ":\n"                          \
            ".incbin \"src/report/" path "\"\n1:\n.balign 4\n"                                                       \
            ".global qd_asset_bytes_" #name "\n.hidden qd_asset_bytes_" #name "\nqd_asset_bytes_" #name ":\n"        \
            ".long 1b - qd_asset_" #name "\n.popsection\n");                                                         \
    extern const char qd_asset_##name[] __attribute__((visibility("hidden")));                                       \
    extern const uint32_t qd_asset_bytes_##name __attribute__((visibility("hidden")));

/* Each file once: in the order in which they stand in the page. */
#define STYLES(X) X(uplot_css, "vendor/uplot/uPlot.min.css") X(page_css, "page/page.css")
#define SCRIPTS(X)                                                                                                   \
    X(uplot_js, "vendor/uplot/uPlot.iife.min.js")                                                                    \
    X(data_js, "page/data.js")                                                                                       \
    X(widgets_js, "page/widgets.js")                                                                                 \
    X(drift_js, "page/drift.js")                                                                                     \
    X(ranges_js, "page/ranges.js")                                                                                   \
    X(findings_js, "page/findings.js")                                                                               \
    X(page_js, "page/page.js")
#define MARKUP(X) X(markup, "page/page.html") X(licence, "vendor/uplot/LICENSE")

STYLES(EMBED)
SCRIPTS(EMBED)
MARKUP(EMBED)

#define COUNT_ONE(name, path) +1
enum { STYLE_COUNT = 0 STYLES(COUNT_ONE), SCRIPT_COUNT = 0 SCRIPTS(COUNT_ONE) };
#define ASSET(name, path) {qd_asset_##name, qd_asset_bytes_##name},

page_asset qd_page_style(int index)
{
    const page_asset styles[] = {STYLES(ASSET)};
    return index < STYLE_COUNT ? styles[index] : (page_asset){0};
}

page_asset qd_page_script(int index)
{
    const page_asset scripts[] = {SCRIPTS(ASSET)};
    return index < SCRIPT_COUNT ? scripts[index] : (page_asset){0};
}

page_asset qd_page_markup(void)
{
    const page_asset markup[] = {MARKUP(ASSET)};
    return markup[0];
}

page_asset qd_page_licence(void)
{
    const page_asset markup[] = {MARKUP(ASSET)};
    return markup[1];
}
