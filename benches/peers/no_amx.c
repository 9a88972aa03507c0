// Preloaded, it refuses a program the tiles of AMX: the system call that asks for them fails, as it does where there are none.
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/syscall.h>

#ifndef ARCH_REQ_XCOMP_PERM
#define ARCH_REQ_XCOMP_PERM 0x1023
#endif

typedef long (*system_call)(long, long, long, long, long, long, long);

long syscall(long number, ...) {
    va_list rest;
    va_start(rest, number);
    long given[6];
    for (int at = 0; at < 6; at++) {
        given[at] = va_arg(rest, long);
    }
    va_end(rest);
    if (number == SYS_arch_prctl && given[0] == ARCH_REQ_XCOMP_PERM) {
        errno = EINVAL;
        return -1;
    }
    system_call next = (system_call)dlsym(RTLD_NEXT, "syscall");
    return next(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}
