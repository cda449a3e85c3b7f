/* CPUID and XCR0, read once by the context; a processor bit counts only when the OS saves the registers behind it. */
#include "base/cpu.h"
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* XCR0: which register files the operating system saves on a context switch. */
static uint64_t read_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}

enum qd_isa qd_cpu_detect_isa(void)
{
    enum {
        LEAF1_ECX_FMA = 1u << 12,
        LEAF1_ECX_OSXSAVE = 1u << 27,
        LEAF1_ECX_AVX = 1u << 28,
        LEAF7_EBX_AVX2 = 1u << 5,
        LEAF7_EBX_AVX512F = 1u << 16,
        LEAF7_EBX_AVX512DQ = 1u << 17,
        LEAF7_EBX_AVX512BW = 1u << 30,
        XCR0_AVX = 0x06,   /* xmm, ymm */
        XCR0_AVX512 = 0xE6 /* and opmask, zmm0-15 upper halves, zmm16-31 */
    };
    const uint32_t leaf7_ebx_avx512vl = UINT32_C(1) << 31;
    uint32_t eax, ebx, ecx, edx;
    const uint32_t leaf1_wanted = LEAF1_ECX_FMA | LEAF1_ECX_OSXSAVE | LEAF1_ECX_AVX;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & leaf1_wanted) != leaf1_wanted)
        return QD_ISA_REF;
    const uint64_t xcr0 = read_xcr0();
    if ((xcr0 & XCR0_AVX) != XCR0_AVX || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(ebx & LEAF7_EBX_AVX2))
        return QD_ISA_REF;
    /* The set every AVX-512 server processor since 2017 has; kernels may not assume more. */
    const uint32_t leaf7_wanted = LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512DQ | LEAF7_EBX_AVX512BW | leaf7_ebx_avx512vl;
    if ((xcr0 & XCR0_AVX512) != XCR0_AVX512 || (ebx & leaf7_wanted) != leaf7_wanted)
        return QD_ISA_AVX2;
    return QD_ISA_AVX512;
}

#else

enum qd_isa qd_cpu_detect_isa(void)
{
    return QD_ISA_REF;
}

#endif

int qd_cpu_count(void)
{
    cpu_set_t set;
    long count;
    /* The affinity mask respects taskset and container limits; it fails above 1024 processors. */
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        count = CPU_COUNT(&set);
    else
        count = sysconf(_SC_NPROCESSORS_ONLN);
    return count >= 1 ? (int)count : 1;
}

void qd_cpu_model(char text[QD_CPU_MODEL_BYTES])
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];
    snprintf(text, QD_CPU_MODEL_BYTES, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", strlen("model name")) != 0 || !colon)
            continue;
        colon += strspn(colon, ": \t");
        snprintf(text, QD_CPU_MODEL_BYTES, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    if (file)
        fclose(file);
}

double qd_available_bytes(void)
{
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file)
        return 0.0;
    char line[256];
    long long kib = 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %lld kB", &kib) == 1)
            break;
    fclose(file);
    return (double)kib * 1024.0;
}
