"""Tries what a sandbox is to forbid, and says how it went.

    probe.py ATTEMPT...

An attempt is a name with arguments, joined by `=`. Each is made in a process of its own, and one line tells what came of
it: `ATTEMPT done`, `ATTEMPT refused ERRNO`, or `ATTEMPT killed SIGNAL`. Nothing here does harm where it is allowed: system
calls get arguments that no kernel accepts.
"""
import ctypes
import errno
import os
import socket
import sys

# x86-64, arch/x86/entry/syscalls/syscall_64.tbl.
CALLS = {
    "ptrace": 101, "syslog": 103, "uselib": 134, "personality": 135, "ustat": 136, "sysfs": 139, "mknod": 133,
    "vhangup": 153, "modify_ldt": 154, "pivot_root": 155, "_sysctl": 156, "adjtimex": 159, "chroot": 161, "acct": 163,
    "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169, "sethostname": 170,
    "setdomainname": 171, "iopl": 172, "ioperm": 173, "create_module": 174, "init_module": 175, "delete_module": 176,
    "quotactl": 179, "nfsservctl": 180, "lookup_dcookie": 212, "clock_settime": 227, "mbind": 237, "set_mempolicy": 238,
    "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "migrate_pages": 256, "mknodat": 259,
    "unshare": 272, "move_pages": 279, "perf_event_open": 298, "fanotify_init": 300, "name_to_handle_at": 303,
    "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311,
    "kcmp": 312, "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
}
X32 = 0x40000000
GETPID = 39

libc = ctypes.CDLL(None, use_errno=True)


def call(name):
    # Minus one is no descriptor, no address, no command, no process and no magic number.
    arguments = [ctypes.c_long(-1)] * 6
    if libc.syscall(ctypes.c_long(CALLS[name]), *arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def x32():
    if libc.syscall(ctypes.c_long(X32 + GETPID)) < 0:
        raise OSError(ctypes.get_errno(), "x32")


def read(path):
    with open(path, "rb") as file:
        file.read(1)


def create(folder):
    path = os.path.join(folder, "made-by-probe")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.unlink(path)


def shared(folder):
    """A file that others can read, made without saying anything about its mode."""
    path = os.path.join(folder, "made-by-probe")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    mode = os.stat(path).st_mode
    os.unlink(path)
    if not mode & 0o077:
        raise OSError(errno.EACCES, path)


def output_of(*command):
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(theirs, 1)
        os.execv(command[0], list(command))
    os.close(theirs)
    said = os.read(ours, 100).decode().strip()
    status = os.waitpid(pid, 0)[1]
    if status != 0:
        raise OSError(errno.EACCES, command[0])
    return said


def another(program):
    """Becomes another user by a program with the setuid bit, a copy of `id`."""
    if int(output_of(program, "-u")) == os.getuid():
        raise OSError(errno.EPERM, program)


def borrow(program, path):
    """Reads what is root's by a program with the setuid bit, a copy of `cat`."""
    output_of(program, path)


def family(number):
    socket.socket(int(number), socket.SOCK_DGRAM).close()


def bind(port):
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).bind(("127.0.0.1", int(port)))


def setuid(user):
    os.setuid(int(user))


def hurry():
    os.setpriority(os.PRIO_PROCESS, 0, -5)


def attempt(text):
    name, *arguments = text.split("=")
    pid = os.fork()
    if pid == 0:
        try:
            globals()[name](*arguments)
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return "killed %d" % os.WTERMSIG(status)
    code = os.WEXITSTATUS(status)
    return "refused %s" % errno.errorcode[code] if code else "done"


for text in sys.argv[1:]:
    print(text, attempt(text), flush=True)
