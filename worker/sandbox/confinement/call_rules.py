"""Rules of the system calls and files that a process may use once it executes code of others.

``JAVASCRIPT`` is for processes that execute JavaScript alone: they use memory, clocks, and the
descriptors that they have. ``PYTHON`` is for processes with Python steps, which also read the
modules of the standard library and of packages.

A call that no rule names fails with EPERM, so that a library that tries a new call goes on without
it. A call that nothing but an attack makes kills the process.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, NamedTuple

MACHINES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Machines with a table of calls, and the number by which the kernel names their calls."""

_TABLE: Final = """
    read 0 63; write 1 64; open 2 -; close 3 57; stat 4 -; fstat 5 80; lstat 6 -; poll 7 -;
    lseek 8 62; mmap 9 222; mprotect 10 226; munmap 11 215; brk 12 214; rt_sigaction 13 134;
    rt_sigprocmask 14 135; rt_sigreturn 15 139; ioctl 16 29; pread64 17 67; readv 19 65;
    writev 20 66; select 23 -; sched_yield 24 124; mremap 25 216; madvise 28 233; shmget 29 194;
    shmat 30 196; nanosleep 35 101; getitimer 36 102; setitimer 38 103; getpid 39 172;
    socket 41 198; connect 42 203; accept 43 202; sendto 44 206; recvfrom 45 207; sendmsg 46 211;
    bind 49 200; listen 50 201; getsockname 51 204; socketpair 53 199; getsockopt 55 209;
    clone 56 220; fork 57 -; vfork 58 -; execve 59 221; exit 60 93; kill 62 129; uname 63 160;
    semget 64 190; msgget 68 186; fcntl 72 25; truncate 76 45; ftruncate 77 46; getcwd 79 17;
    rename 82 -; mkdir 83 -; rmdir 84 -; creat 85 -; link 86 -; unlink 87 -; symlink 88 -;
    chmod 90 -; fchmod 91 52; chown 92 -; fchown 93 55; lchown 94 -; gettimeofday 96 169;
    getrusage 98 165; sysinfo 99 179; ptrace 101 117; getuid 102 174; getgid 104 176;
    setuid 105 146; setgid 106 144; geteuid 107 175; getegid 108 177; getppid 110 173;
    setreuid 113 145; setregid 114 143; setgroups 116 159; setresuid 117 147; setresgid 119 149;
    setfsuid 122 151; setfsgid 123 152; capset 126 91; sigaltstack 131 132; mknod 133 -;
    personality 135 92; pivot_root 155 41; prctl 157 167; chroot 161 51; mount 165 40;
    umount2 166 39; swapon 167 224; reboot 169 142; init_module 175 105; gettid 186 178;
    setxattr 188 5; tkill 200 130; time 201 -; futex 202 98; sched_getaffinity 204 123;
    epoll_wait 232 -; epoll_ctl 233 21; getdents64 217 61; restart_syscall 219 128;
    clock_gettime 228 113; clock_getres 229 114; clock_nanosleep 230 115; exit_group 231 94;
    mq_open 240 180; kexec_load 246 104; add_key 248 217; request_key 249 218; keyctl 250 219;
    openat 257 56; mkdirat 258 34; mknodat 259 33; fchownat 260 54; newfstatat 262 79;
    unlinkat 263 35; renameat 264 38; linkat 265 37; symlinkat 266 36; fchmodat 268 53;
    pselect6 270 72; ppoll 271 73; unshare 272 97; set_robust_list 273 99; epoll_pwait 281 22;
    accept4 288 242; epoll_create1 291 20; perf_event_open 298 241; prlimit64 302 261;
    open_by_handle_at 304 265; setns 308 268; process_vm_readv 310 270; process_vm_writev 311 271;
    finit_module 313 273; renameat2 316 276; getrandom 318 278; memfd_create 319 279; bpf 321 280;
    execveat 322 281; userfaultfd 323 282; membarrier 324 283; rseq 334 293;
    pidfd_send_signal 424 424; io_uring_setup 425 425; io_uring_enter 426 426;
    io_uring_register 427 427; open_tree 428 428; move_mount 429 429; fsopen 430 430;
    pidfd_open 434 434; clone3 435 435; openat2 437 437; pidfd_getfd 438 438;
    process_madvise 440 440; memfd_secret 447 447; fchmodat2 452 452
"""
"""Numbers of the calls: of x86_64, and of aarch64, which lacks the oldest ones."""


def numbers(machine: str) -> dict[str, int]:
    """Return the numbers of the calls that a machine has, by name."""
    column = 1 + list(MACHINES).index(machine)
    rows = (row.split() for row in _TABLE.split(";"))
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


class Action(Enum):
    """Consequence of a call."""

    ALLOW = auto()
    DENY = auto()
    KILL = auto()


class CallRule(NamedTuple):
    """Action for the calls ``names``, where the argument, masked, equals one of ``values``.

    It equals none of them where the rule is negated. A rule with no ``values`` is for any argument.
    The first rule that fits a call counts.
    """

    action: Action
    names: str
    argument: int = 0
    mask: int = 0xFFFFFFFF
    values: tuple[int, ...] = ()
    is_negated: bool = False


class Profile(Enum):
    """Kind of code that a process executes."""

    JAVASCRIPT = "javascript"
    PYTHON = "python"


_MAP_SHARED = 1
_AF_UNIX = 1
_SOCK_STREAM, _SOCK_TYPE = 1, 0xF
_PR_SET_VMA = 0x53564D41
# Duplicates, flags and "close on exec". What is left out sets the owner that a signal goes to.
_FCNTL = (0, 1, 2, 3, 4, 1030)
_TCGETS, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX = 0x5401, 0x541B, 0x5421, 0x5450, 0x5451
# Everything but the bits that change a file or make one: O_WRONLY, O_RDWR, O_CREAT, O_TRUNC.
_WRITING = 0o1103

_COMMON: Final = (
    CallRule(Action.KILL, "mmap", 3, _MAP_SHARED, (_MAP_SHARED,)),
    CallRule(
        Action.ALLOW, "read write close futex mmap munmap mprotect madvise mremap brk pread64"
    ),
    CallRule(Action.ALLOW, "recvfrom sendto select pselect6 poll ppoll getrusage getpid gettid"),
    CallRule(
        Action.ALLOW, "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time"
    ),
    CallRule(Action.ALLOW, "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall"),
    CallRule(Action.ALLOW, "exit exit_group sched_yield getrandom setitimer getitimer fstat"),
    CallRule(
        Action.ALLOW, "newfstatat lseek readv writev getuid geteuid getgid getegid getppid sysinfo"
    ),
    CallRule(Action.ALLOW, "membarrier rseq set_robust_list sched_getaffinity"),
    CallRule(Action.ALLOW, "fcntl", 1, values=_FCNTL),
    CallRule(Action.ALLOW, "ioctl", 1, values=(_TCGETS, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX)),
    CallRule(Action.DENY, "prctl", 0, values=(_PR_SET_VMA,)),
)

_ATTACKS: Final = (
    "socket connect accept accept4 bind listen sendmsg socketpair clone clone3 fork vfork execve "
    "execveat kill tkill pidfd_open pidfd_send_signal pidfd_getfd ptrace process_vm_readv "
    "process_vm_writev process_madvise io_uring_setup io_uring_enter io_uring_register bpf "
    "perf_event_open userfaultfd memfd_create memfd_secret shmget shmat semget msgget mq_open "
    "mount umount2 pivot_root chroot unshare setns open_tree move_mount fsopen setuid setgid "
    "setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset chmod fchmod "
    "fchmodat fchmodat2 chown fchown lchown fchownat unlink unlinkat rename renameat renameat2 "
    "mkdir mkdirat rmdir mknod mknodat link linkat symlink symlinkat truncate ftruncate creat "
    "setxattr keyctl add_key request_key init_module finit_module kexec_load reboot swapon "
    "personality prctl open openat openat2 open_by_handle_at"
)

RULES: Final = {
    Profile.JAVASCRIPT: (
        *_COMMON,
        # The C library looks into /proc before it gives memory of a thread back, and does without.
        CallRule(Action.DENY, "open", 1, _WRITING, (0,)),
        CallRule(Action.DENY, "openat", 2, _WRITING, (0,)),
        # A runner changes its memory limit from run to run, up to the hard limit.
        CallRule(Action.ALLOW, "prlimit64", 0, values=(0,)),
        CallRule(Action.KILL, _ATTACKS),
    ),
    Profile.PYTHON: (
        *_COMMON,
        CallRule(Action.ALLOW, "open", 1, _WRITING, (0,)),
        CallRule(Action.ALLOW, "openat", 2, _WRITING, (0,)),
        CallRule(Action.ALLOW, "stat lstat getdents64 getcwd uname"),
        # The event loop of asynchronous steps wakes itself through a pair of sockets. Pairs of
        # datagrams would reach sockets of other processes by their paths.
        CallRule(Action.KILL, "socketpair", 0, values=(_AF_UNIX,), is_negated=True),
        CallRule(Action.ALLOW, "socketpair", 1, _SOCK_TYPE, (_SOCK_STREAM,)),
        CallRule(Action.ALLOW, "epoll_create1 epoll_ctl epoll_wait epoll_pwait"),
        CallRule(Action.ALLOW, "getsockname getsockopt"),
        CallRule(Action.KILL, _ATTACKS),
    ),
}
"""Rules of each profile."""

MAX_DESCRIPTORS: Final = {Profile.JAVASCRIPT: 1024, Profile.PYTHON: 32}
"""Descriptors that a process may have. A runner has two for each of its 256 programs."""
