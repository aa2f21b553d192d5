# SPDX-License-Identifier: Apache-2.0
"""The default system call filter: the system calls that a build step may use.

Everything that is not listed fails with ENOSYS, so that programs fall back, and what is known and refused fails with
EPERM, so that they say so. Three groups: calls that are always fine; calls that a capability unlocks; calls that depend
on their arguments. The selection is that of the usual container default: namespaces, mounts, kernel keys, modules,
clocks and tracing of the kernel are closed.
"""

from __future__ import annotations

import platform
from functools import cache

_MACHINE = platform.machine()
_EPERM, _ENOSYS = 1, 38
_ALLOW, _ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"

_PROCESS = """
alarm brk capget capset clone3 execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait
futex_waitv futex_wake get_robust_list get_thread_area getcpu getegid getegid32 geteuid geteuid32 getgid getgid32
getgroups getgroups32 getitimer getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid
getresuid32 getrlimit getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set kill membarrier nanosleep pause
pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease process_vm_readv process_vm_writev ptrace
restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
setreuid32 setrlimit setsid setuid setuid32 sigaltstack sigaction signal signalfd signalfd4 sigpending sigprocmask
sigreturn sigsuspend sysinfo tgkill time times tkill ugetrlimit umask uname vfork wait4 waitid waitpid
landlock_add_rule landlock_create_ruleset landlock_restrict_self
"""
_MEMORY = """
cachestat madvise map_shadow_stack memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap
mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages shmat shmctl shmdt shmget
"""
_FILES = """
_llseek access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listmount listxattr listxattrat llistxattr lremovexattr
lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64
preadv preadv2 pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat readv removexattr removexattrat
rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statmount
statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 unlink unlinkat utime utimensat
utimensat_time64 utimes vmsplice write writev
"""
_EVENTS_AND_TIME = """
_newselect adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
epoll_wait epoll_wait_old eventfd eventfd2 getrandom gettimeofday io_cancel io_destroy io_getevents io_pgetevents
io_pgetevents_time64 io_setup io_submit pipe pipe2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select timer_create
timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
"""
_MESSAGES = """
accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr mq_notify mq_open mq_timedreceive
mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd recv recvfrom recvmmsg
recvmmsg_time64 recvmsg semctl semget semop semtimedop semtimedop_time64 send sendmmsg sendmsg sendto setsockopt shutdown
socketcall socketpair
"""
_ALWAYS = f"{_PROCESS} {_MEMORY} {_FILES} {_EVENTS_AND_TIME} {_MESSAGES}"

_BY_ARCHITECTURE = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "ppc64le": "sync_file_range2 swapcontext",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    "riscv64": "riscv_flush_icache riscv_hwprobe",
}
_BY_CAPABILITY = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": """bpf clone fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
        quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare""",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
}
_REFUSED = (
    "add_key io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load keyctl migrate_pages "
)
_REFUSED += "move_pages nfsservctl pivot_root request_key swapoff swapon sysfs uselib userfaultfd ustat"

_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_NEW_NAMESPACE_FLAGS = 0x7E020000
_AF_VSOCK = 40
_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
    "riscv64": ("SCMP_ARCH_RISCV64",),
}


@cache
def profile(capabilities: frozenset[str], machine: str = _MACHINE) -> dict[str, object] | None:
    """Return the ``linux.seccomp`` object for a process with ``capabilities``; None on an unknown machine.

    The value is shared between calls and must not be changed.
    """
    if machine not in _ARCHITECTURES:
        return None
    allowed = {*_ALWAYS.split(), *_BY_ARCHITECTURE.get(machine, "").split()}
    locked = set(_REFUSED.split())
    for capability, names in _BY_CAPABILITY.items():
        (allowed if capability in capabilities else locked).update(names.split())
    rules = _by_argument()
    if "CAP_SYS_ADMIN" not in capabilities:
        rules += _without_namespaces(machine)
        allowed.discard("clone3")
        locked.discard("clone")
    rules.append(_rule(sorted(allowed), _ALLOW))
    rules.append(_rule(sorted(locked - allowed), _ERRNO, errno=_EPERM))
    return {
        "defaultAction": _ERRNO,
        "defaultErrnoRet": _ENOSYS,
        "architectures": list(_ARCHITECTURES[machine]),
        "syscalls": rules,
    }


def _by_argument() -> list[dict[str, object]]:
    """Known execution domains only, and every socket family but the hypervisor's."""
    rules = [_rule(["personality"], _ALLOW, [_arg(0, value, "SCMP_CMP_EQ")]) for value in _PERSONALITIES]
    rules.append(_rule(["socket"], _ALLOW, [_arg(0, _AF_VSOCK, "SCMP_CMP_NE")]))
    return rules


def _without_namespaces(machine: str) -> list[dict[str, object]]:
    """``clone`` for processes and threads only; ``clone3``, whose flags a filter cannot see, is "not there"."""
    flags = 1 if machine == "s390x" else 0
    plain = {"index": flags, "value": _NEW_NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    return [_rule(["clone"], _ALLOW, [plain]), _rule(["clone3"], _ERRNO, errno=_ENOSYS)]


def _arg(index: int, value: int, operator: str) -> dict[str, object]:
    return {"index": index, "value": value, "op": operator}


def _rule(
    names: list[str], action: str, args: list[dict[str, object]] | None = None, *, errno: int | None = None
) -> dict[str, object]:
    rule: dict[str, object] = {"names": names, "action": action}
    if args:
        rule["args"] = args
    if errno is not None:
        rule["errnoRet"] = errno
    return rule
