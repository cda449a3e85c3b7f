/* What the processor and the operating system offer. */
#ifndef QD_BASE_CPU_H
#define QD_BASE_CPU_H

#include <quantdrift/context.h>

/*
 * Whether the processor has an instruction set and the operating system saves its registers. Linux gives AMX's to
 * processes that ask; asking is part of this. Thread-safe. Sources: Intel SDM volume 1, sections 14.3, 15.2 and 18.3
 * (CPUID, OSXSAVE, XCR0); Linux, Documentation/arch/x86/xstate.rst.
 */
bool qd_cpu_has_isa(enum qd_isa isa);

/* The best of them. */
enum qd_isa qd_cpu_detect_isa(void);

/* Processors this process may run on, at least 1. */
int qd_cpu_count(void);

/* The processor's name as the system tells it; "unknown" where it does not. */
#define QD_CPU_MODEL_BYTES 128
void qd_cpu_model(char text[QD_CPU_MODEL_BYTES]);

/* MemAvailable of /proc/meminfo in bytes; 0 when it cannot be read. */
double qd_available_bytes(void);

#endif
