"""Start a program that ends when its parent ends, even by `kill -9`.

Standard library only: this file is also run as a script.

    python -I -S tether.py PARENT_PID SIGNAL IDENTITY PROGRAM [ARGUMENT ...]

On Linux the kernel sends SIGNAL to the program when the *thread* that started it ends (`PR_SET_PDEATHSIG`,
prctl(2)), so start from a thread that lives as long as the program should: the main thread. Elsewhere a small
watcher process looks twice a second whether the parent still lives, and sends the signal.

IDENTITY is who the program runs as. PostgreSQL refuses to run as root, and there are two ways around it:

    same        as whoever started it
    namespace   in a user namespace of its own, where we are user 1000: files stay ours, no account is needed
    (Linux only) UID:GID     as another user; needs root, and that user must be able to reach the program and
    its data
"""

import ctypes
import os
import pwd
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SAME = "same"
NAMESPACE = "namespace"
#: Exit codes of the script itself, chosen above what servers use.
PARENT_GONE, CANNOT_EXECUTE, CANNOT_CHANGE_IDENTITY = 125, 126, 124
_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000


def command(program: Sequence[str], death_signal: signal.Signals, identity: str = SAME) -> list[str]:
    """The command line that runs `program` tethered to the calling process."""
    # -I and -S: neither the environment nor site packages can slow it down or change what it does.
    shim = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    return [*shim, str(os.getpid()), str(int(death_signal)), identity, *program]


def change_identity(identity: str) -> None:
    """Become `identity`, see the module's text. Raises OSError when the system does not allow it."""
    if identity == SAME:
        return
    if identity == NAMESPACE:
        user, group = os.geteuid(), os.getegid()
        _call("unshare", _CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        inner = _named_user()
        Path("/proc/self/uid_map").write_text(f"{inner} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{inner} {group} 1")
        return
    user, group = (int(number) for number in identity.split(":"))
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)


def tie_to_parent(parent: int, death_signal: int) -> None:
    """Have the calling process get `death_signal` when `parent` ends; exits when it has ended already."""
    try:
        _call("prctl", _PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    except (AttributeError, OSError):
        watch_parent(parent, os.getpid(), death_signal)
    # The parent may have ended before the call above: then nobody would ever send the signal.
    if os.getppid() != parent:
        sys.exit(PARENT_GONE)


def watch_parent(parent: int, program: int, death_signal: int) -> None:
    """Leave a process behind that signals `program` once `parent` is gone, and ends with either."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    # Forked twice, so that the program never sees an unknown child of its own end.
    if os.fork() == 0:
        os.setsid()
        while is_alive(program):
            if not is_alive(parent):
                os.kill(program, death_signal)
                break
            time.sleep(0.5)
    os._exit(0)


def is_alive(pid: int) -> bool:
    """Whether there is a process with this number (a zombie counts as one)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _named_user() -> int:
    """A user other than root that has a name, since initdb wants to know its own; what it owns outside stays the same."""
    return next((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid), 1000)


def _call(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def main(arguments: Sequence[str]) -> None:
    """Become the program; returns only by exiting."""
    parent, death_signal, identity, *program = arguments
    try:
        change_identity(identity)
    except (AttributeError, OSError) as error:
        print(f"cannot run {program[0]} as {identity}: {error}", file=sys.stderr)
        sys.exit(CANNOT_CHANGE_IDENTITY)
    # After the change of identity, which clears it.
    tie_to_parent(int(parent), int(death_signal))
    try:
        os.execv(program[0], program)  # noqa: S606 - running the given program is what this is for
    except OSError as error:
        print(f"cannot run {program[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(CANNOT_EXECUTE)


if __name__ == "__main__":
    main(sys.argv[1:])
