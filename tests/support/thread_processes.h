/* Threads that train together as processes would, so that what is shared among processes is tested without MPI. */
#ifndef TESTS_SUPPORT_THREAD_PROCESSES_H
#define TESTS_SUPPORT_THREAD_PROCESSES_H

#include "base/communicator.h"

/* Runs body() in `count` threads, each with its communicator, and waits for all. The body asserts nothing (a thread
 * that left the test would leave the others waiting): it notes what it finds in `user`. */
void thread_processes_run(int count, void (*body)(void *user, const qd_communicator *processes), void *user);

#endif
