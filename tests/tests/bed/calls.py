"""Makes system calls by their numbers, with arguments that no kernel accepts, and prints which of them the kernel has.

    calls.py FIRST LAST
"""
import ctypes
import errno
import sys

libc = ctypes.CDLL(None, use_errno=True)
# The calls uretprobe and uprobe, which only the kernel's own trampolines may make. The kernel kills
# any other caller, and no seccomp filter can prevent this (kernel/seccomp.c).
TRAMPOLINES = {335, 336}
for number in sorted(set(range(int(sys.argv[1]), int(sys.argv[2]) + 1)) - TRAMPOLINES):
    # Pass -1 as each argument, because -1 is not a valid descriptor, address, process or flag.
    answer = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
    if answer >= 0 or ctypes.get_errno() != errno.ENOSYS:
        print(number)
