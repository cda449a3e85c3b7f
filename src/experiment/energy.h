/*
 * Energy from the Linux powercap counters: what the processor packages take, all that runs on them and their idling
 * included. Source: Documentation/power/powercap in the Linux kernel.
 */
#ifndef QD_EXPERIMENT_ENERGY_H
#define QD_EXPERIMENT_ENERGY_H

#include <quantdrift/context.h>

typedef struct qd_energy_meter qd_energy_meter;

/*
 * Finds the packages of a powercap tree, such as /sys/class/powercap: zones <root>/intel-rapl:<n> whose file `name`
 * begins with "package". Their parts (intel-rapl:<n>:<m>) and zones of the whole platform would be counted twice. A
 * machine without counters is no error: see qd_energy_meter_problem(). Errors: QD_ERR_MEMORY.
 */
enum qd_status qd_energy_meter_create(qd_context *ctx, const char *root, qd_energy_meter **out);
void qd_energy_meter_destroy(qd_energy_meter *meter);

/* Why nothing can be measured, half a sentence; NULL while it can. */
const char *qd_energy_meter_problem(const qd_energy_meter *meter);

/* Begins a measurement, and ends it: joules of all packages since, NaN where nothing can be measured. A counter may
 * wrap around once between them (at 200 W after 20 minutes or more). */
void qd_energy_meter_begin(qd_energy_meter *meter);
double qd_energy_meter_end(qd_energy_meter *meter);

#endif
