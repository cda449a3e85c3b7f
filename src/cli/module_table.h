/* Modules' statistics as a table on the terminal. */
#ifndef QD_CLI_MODULE_TABLE_H
#define QD_CLI_MODULE_TABLE_H

#include <quantdrift/network.h>

/* The module's path; "(network)" for the network itself, whose path is empty. */
const char *cli_module_path(const qd_module_report *report);

/* Prints one row a module and their number; returns the width of the first column. */
int cli_module_table_print(const qd_module_report *reports, int count);

#endif
