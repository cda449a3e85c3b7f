/* What the processor and the operating system offer. */
#ifndef QD_BASE_CPU_H
#define QD_BASE_CPU_H

#include <quantdrift/context.h>

/* Best instruction set that the processor has and whose registers the operating system saves. Thread-safe.
 * Source: Intel SDM volume 1, sections 14.3 and 15.2 (CPUID, OSXSAVE, XCR0). */
enum qd_isa qd_cpu_detect_isa(void);

/* Processors this process may run on, at least 1. */
int qd_cpu_count(void);

/* The processor's name as the system tells it; "unknown" where it does not. */
#define QD_CPU_MODEL_BYTES 128
void qd_cpu_model(char text[QD_CPU_MODEL_BYTES]);

/* MemAvailable of /proc/meminfo in bytes; 0 when it cannot be read. */
double qd_available_bytes(void);

#endif
