"""Attempts actions that a sandbox must forbid, and prints the results.

    probe.py ATTEMPT...

An attempt is a name with arguments, joined by `=`. One line contains its result: `ATTEMPT done` or `ATTEMPT refused ERRNO`.
All attempts run in this one process, because a sandbox can forbid starting another. No attempt is harmful if it is allowed,
because system calls get arguments that no kernel accepts.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import signal
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_long


def call(number):
    # Minus one is not a valid descriptor, address, command, process or magic number.
    checked(libc.syscall(ctypes.c_long(int(number)), *[ctypes.c_long(-1)] * 6), number)


def checked(answer, what):
    if answer < 0:
        raise OSError(ctypes.get_errno(), what)


def memory(protection, later=None):
    """Maps a page with some rights, and then changes the rights of the page."""
    page = libc.mmap(None, ctypes.c_size_t(4096), int(protection), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, ctypes.c_long(0))
    checked(page, "mmap")
    if later is not None:
        checked(libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(4096), int(later)), "mprotect")


def process(flags):
    """Starts another process with clone, with these flags and the exit signal SIGCHLD."""
    pid = libc.syscall(ctypes.c_long(56), ctypes.c_long(int(flags, 0) | signal.SIGCHLD), *[ctypes.c_long(0)] * 4)
    if pid == 0:
        os._exit(0)
    checked(pid, "clone")
    os.waitpid(pid, 0)


def request(number):
    fcntl.ioctl(0, int(number, 0), b"xxxx")


def read(path):
    with open(path, "rb") as file:
        file.read(1)


def create(folder):
    path = os.path.join(folder, "made-by-probe")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.unlink(path)


def shared(folder):
    """Makes a file with the default mode, which other users may then read."""
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
    """Becomes another user with a setuid program, a copy of `id`."""
    if int(output_of(program, "-u")) == os.getuid():
        raise OSError(errno.EPERM, program)


def borrow(program, path):
    """Reads a file whose mode gives no one access, with a setuid program, a copy of `cat`."""
    output_of(program, path)


def opened(family, kind, protocol):
    socket.socket(int(family, 0), int(kind, 0), int(protocol, 0)).close()


def pair(family):
    one, other = socket.socketpair(int(family))
    one.close()
    other.close()


def bind(port):
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).bind(("127.0.0.1", int(port)))


def setuid(user):
    os.setuid(int(user))


def hurry():
    os.setpriority(os.PRIO_PROCESS, 0, -20)


def attempt(text):
    name, *arguments = text.split("=")
    try:
        globals()[name](*arguments)
    except OSError as error:
        return "refused %s" % errno.errorcode[error.errno]
    return "done"


for text in sys.argv[1:]:
    print(text, attempt(text), flush=True)
