/* CPUID and XCR0, read once by the context; a processor bit counts only when the OS saves the registers behind it. */
#include "base/cpu.h"
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>

/* Feature words of CPUID that instruction sets are told by. */
enum word { LEAF1_ECX, LEAF7_EBX, LEAF7_ECX, LEAF7_EDX, LEAF7_1_EAX, XCR0, WORD_COUNT };

#define BIT(n) (UINT32_C(1) << (n))

/* What a set needs: all of these bits. */
static const uint32_t needs[QD_ISA_COUNT][WORD_COUNT] = {
    /* FMA, OSXSAVE, AVX; AVX2; xmm and ymm saved */
    [QD_ISA_AVX2] = {[LEAF1_ECX] = BIT(12) | BIT(27) | BIT(28), [LEAF7_EBX] = BIT(5), [XCR0] = 0x06},
    [QD_ISA_AVXVNNI] =
        {[LEAF1_ECX] = BIT(12) | BIT(27) | BIT(28), [LEAF7_EBX] = BIT(5), [LEAF7_1_EAX] = BIT(4), [XCR0] = 0x06},
    /* F, DQ, BW, VL: what every AVX-512 server processor since 2017 has; opmask and zmm saved */
    [QD_ISA_AVX512] = {[LEAF1_ECX] = BIT(12) | BIT(27) | BIT(28),
                       [LEAF7_EBX] = BIT(5) | BIT(16) | BIT(17) | BIT(30) | BIT(31),
                       [XCR0] = 0xE6},
    /* VBMI, VNNI: since Ice Lake and Zen 4 */
    [QD_ISA_AVX512VNNI] = {[LEAF1_ECX] = BIT(12) | BIT(27) | BIT(28),
                           [LEAF7_EBX] = BIT(5) | BIT(16) | BIT(17) | BIT(30) | BIT(31),
                           [LEAF7_ECX] = BIT(1) | BIT(11),
                           [XCR0] = 0xE6},
    /* AMX-TILE, AMX-INT8; tile configuration and data saved */
    [QD_ISA_AMX] = {[LEAF1_ECX] = BIT(12) | BIT(27) | BIT(28),
                    [LEAF7_EBX] = BIT(5) | BIT(16) | BIT(17) | BIT(30) | BIT(31),
                    [LEAF7_ECX] = BIT(1) | BIT(11),
                    [LEAF7_EDX] = BIT(24) | BIT(25),
                    [XCR0] = 0x600E6},
};

/* XCR0: which register files the operating system saves on a context switch. */
static uint32_t read_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static void read_words(uint32_t words[WORD_COUNT])
{
    uint32_t eax, ebx, ecx, edx;

    for (int i = 0; i < WORD_COUNT; i++)
        words[i] = 0;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx))
        return;
    words[LEAF1_ECX] = ecx;
    if (ecx & BIT(27)) /* OSXSAVE: xgetbv exists */
        words[XCR0] = read_xcr0();
    if (!__get_cpuid_count(7, 0, &eax, &words[LEAF7_EBX], &words[LEAF7_ECX], &words[LEAF7_EDX]) || eax < 1)
        return;
    __cpuid_count(7, 1, words[LEAF7_1_EAX], ebx, ecx, edx);
}

/* Linux enlarges a process's register area for AMX only when asked, and may say no. */
static bool ask_for_tiles(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

bool qd_cpu_has_isa(enum qd_isa isa)
{
    uint32_t words[WORD_COUNT];

    if ((unsigned)isa >= QD_ISA_COUNT)
        return false;
    read_words(words);
    for (int i = 0; i < WORD_COUNT; i++)
        if ((words[i] & needs[isa][i]) != needs[isa][i])
            return false;
    return isa != QD_ISA_AMX || ask_for_tiles();
}

#else

bool qd_cpu_has_isa(enum qd_isa isa)
{
    return isa == QD_ISA_REF;
}

#endif

enum qd_isa qd_cpu_detect_isa(void)
{
    int isa = QD_ISA_COUNT - 1;

    while (!qd_cpu_has_isa((enum qd_isa)isa))
        isa--; /* the reference needs nothing */
    return (enum qd_isa)isa;
}

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
