/* What kind of build a test runs in, where that decides what it can see or afford. */
#ifndef TESTS_SUPPORT_SLOW_BUILD_H
#define TESTS_SUPPORT_SLOW_BUILD_H

/* Built with a sanitizer, whose allocator and speed are not the program's own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TESTS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define TESTS_SANITIZED 1
#endif
#endif
#ifndef TESTS_SANITIZED
#define TESTS_SANITIZED 0
#endif

/* TESTS_EMULATED, from the Makefile: another processor is emulated, which makes everything thirty times slower. */
#ifndef TESTS_EMULATED
#define TESTS_EMULATED 0
#endif
#define SKIP_IF_EMULATED()                                                                                           \
    do {                                                                                                             \
        if (TESTS_EMULATED)                                                                                          \
            cr_skip_test("minutes of an emulator's time for arithmetic that smaller tests go through");              \
    } while (0)

#endif
