/*
 * Linked into quantdrift_faults, the program as it is but for one failure: QD_FAULT=KIND:N makes the N-th allocation,
 * write, fsync, rename or read fail, and QD_FAULT_REPORT=FILE receives how many there were of each and whether one
 * failed.
 *
 * Allocations are those that our own objects and cJSON ask for: the linker hands us their calls (--wrap), so that a
 * sanitizer's allocator stays behind them. System calls are trapped by a seccomp filter, whoever makes them: a C
 * library's streams and libzip too. Standard output and error are left alone.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ALLOCATION, WRITE, FSYNC, RENAME, READ, KINDS };

static const char *const kind_names[KINDS] = {"allocation", "write", "fsync", "rename", "read"};
static const int kind_errors[KINDS] = {ENOMEM, ENOSPC, EIO, EIO, EIO};

static struct {
    int kind;
    long nth;
    atomic_long counts[KINDS];
    atomic_bool has_failed;
} fault = {.kind = -1};

static bool fails_now(int kind)
{
    const long n = atomic_fetch_add(&fault.counts[kind], 1) + 1;
    if (kind != fault.kind || n != fault.nth)
        return false;
    atomic_store(&fault.has_failed, true);
    return true;
}

/* ---- allocations ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__real_reallocarray(void *block, size_t count, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t length);
int __real_vasprintf(char **text, const char *format, va_list arguments);
FILE *__real_open_memstream(char **text, size_t *length);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__wrap_reallocarray(void *block, size_t count, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t length);
int __wrap_vasprintf(char **text, const char *format, va_list arguments);
FILE *__wrap_open_memstream(char **text, size_t *length);

static bool memory_fails(void)
{
    if (!fails_now(ALLOCATION))
        return false;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return memory_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return memory_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return memory_fails() ? NULL : __real_realloc(block, size);
}

void *__wrap_reallocarray(void *block, size_t count, size_t size)
{
    return memory_fails() ? NULL : __real_reallocarray(block, count, size);
}

char *__wrap_strdup(const char *text)
{
    return memory_fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t length)
{
    return memory_fails() ? NULL : __real_strndup(text, length);
}

int __wrap_vasprintf(char **text, const char *format, va_list arguments)
{
    return memory_fails() ? -1 : __real_vasprintf(text, format, arguments);
}

FILE *__wrap_open_memstream(char **text, size_t *length)
{
    return memory_fails() ? NULL : __real_open_memstream(text, length);
}

/* ---- system calls ---- */

/* A system call as it is; in this program's text, whose calls the filter lets through. */
long fault_system_call(long number, long a, long b, long c, long d, long e, long f);

__asm__(".text\n"
        ".globl fault_system_call\n"
        ".type fault_system_call, @function\n"
        "fault_system_call:\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    movq %rdx, %rsi\n"
        "    movq %rcx, %rdx\n"
        "    movq %r8, %r10\n"
        "    movq %r9, %r8\n"
        "    movq 8(%rsp), %r9\n"
        "    syscall\n"
        "    ret\n");

static int kind_of(long number)
{
    switch (number) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_writev:
        return WRITE;
    case SYS_fsync:
    case SYS_fdatasync:
        return FSYNC;
    case SYS_rename:
    case SYS_renameat:
    case SYS_renameat2:
        return RENAME;
    default:
        return READ;
    }
}

static void on_trap(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    const int saved_errno = errno;
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const int kind = kind_of(info->si_syscall);
    const bool is_terminal = kind == WRITE && (r[REG_RDI] == STDOUT_FILENO || r[REG_RDI] == STDERR_FILENO);
    if (!is_terminal && fails_now(kind))
        r[REG_RAX] = -kind_errors[kind];
    else
        r[REG_RAX] =
            fault_system_call(info->si_syscall, r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]);
    errno = saved_errno;
}

static void complain(const char *what)
{
    perror(what);
    _exit(125);
}

/* Code whose system calls pass: ours, and a sanitizer's, which looks for leaks from a thread without handlers. */
typedef struct code_range {
    uint32_t high, first, last; /* upper and lower halves of addresses */
} code_range;

enum { MAX_RANGES = 8, RANGE_STEPS = 5, MAX_STEPS = 128 };

typedef struct free_code {
    code_range ranges[MAX_RANGES];
    int count;
} free_code;

static void add_range(free_code *code, uintptr_t first, uintptr_t last)
{
    const uintptr_t split = last & ~(uintptr_t)UINT32_MAX;
    if (first < split) {
        add_range(code, first, split - 1);
        first = split;
    }
    if (code->count == MAX_RANGES)
        complain("fault injection: more code than expected");
    code->ranges[code->count++] =
        (code_range){.high = (uint32_t)(first >> 32), .first = (uint32_t)first, .last = (uint32_t)last};
}

static int collect_code(struct dl_phdr_info *object, size_t size, void *code)
{
    (void)size;
    /* The program itself has no name. */
    if (object->dlpi_name[0] != '\0' && !strstr(object->dlpi_name, "/libasan.") &&
        !strstr(object->dlpi_name, "/libubsan."))
        return 0;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        const uintptr_t start = object->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X))
            add_range(code, start, start + segment->p_memsz);
    }
    return 0;
}

static void trap_system_calls(void)
{
    static const int numbers[] = {SYS_write,  SYS_pwrite64, SYS_writev,    SYS_fsync, SYS_fdatasync,
                                  SYS_rename, SYS_renameat, SYS_renameat2, SYS_read,  SYS_pread64};
    enum { COUNT = sizeof numbers / sizeof numbers[0] };
    static const size_t ip = offsetof(struct seccomp_data, instruction_pointer);
    struct sock_filter filter[MAX_STEPS];
    free_code code = {.count = 0};
    unsigned short n = 0;
    dl_iterate_phdr(collect_code, &code);
    const unsigned short allow = (unsigned short)(code.count * RANGE_STEPS + 1 + COUNT), trap = allow + 1;
    for (int i = 0; i < code.count; i++) {
        const code_range *range = &code.ranges[i];
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)ip + 4);
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, range->high, 0, 3);
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)ip);
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, range->first, 0, 1);
        filter[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, range->last, 0, (uint8_t)(allow - n - 1));
        n++;
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, nr));
    for (int i = 0; i < COUNT; i++, n++)
        filter[n] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)numbers[i], (uint8_t)(trap - n - 1), 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    const struct sock_fprog program = {.len = n, .filter = filter};
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER};
    if (sigaction(SIGSYS, &action, NULL) != 0)
        complain("sigaction");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        complain("seccomp");
}

int __real_sigfillset(sigset_t *set);
int __wrap_sigfillset(sigset_t *set);

/* Threads that block every signal would die of a trapped call. */
int __wrap_sigfillset(sigset_t *set)
{
    const int code = __real_sigfillset(set);
    return code == 0 ? sigdelset(set, SIGSYS) : code;
}

/* ---- begin and end ---- */

__attribute__((constructor)) static void begin(void)
{
    static cJSON_Hooks hooks = {.malloc_fn = __wrap_malloc, .free_fn = free};
    const char *wanted = getenv("QD_FAULT"), *colon = wanted ? strchr(wanted, ':') : NULL;
    if (!colon)
        return;
    for (int kind = 0; kind < KINDS; kind++)
        if (strlen(kind_names[kind]) == (size_t)(colon - wanted) &&
            strncmp(wanted, kind_names[kind], (size_t)(colon - wanted)) == 0)
            fault.kind = kind;
    fault.nth = strtol(colon + 1, NULL, 10);
    if (fault.kind < 0)
        _exit(125);
    cJSON_InitHooks(&hooks);
    trap_system_calls();
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("QD_FAULT_REPORT");
    char text[256];
    int length = 0;
    if (!path || fault.kind < 0)
        return;
    for (int kind = 0; kind < KINDS; kind++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s %ld\n", kind_names[kind],
                           atomic_load(&fault.counts[kind]));
    length += snprintf(text + length, sizeof text - (size_t)length, "failed %d\n", atomic_load(&fault.has_failed));
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file >= 0) {
        fault_system_call(SYS_write, file, (long)text, length, 0, 0, 0);
        close(file);
    }
}
