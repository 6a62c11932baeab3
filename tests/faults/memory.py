"""How much memory programs use, and whether it grows."""

import os
from collections import defaultdict
from pathlib import Path

import numpy as np

PAGE = os.sysconf("SC_PAGE_SIZE")
HOUR = 3600.0
MIB = 1024.0 * 1024.0


def own_bytes(pid: int) -> int:
    """Bytes in RAM that a process shares with no file or other process; 0 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * PAGE


def family_bytes(pid: int) -> int:
    """The same for a process and its children together."""
    return own_bytes(pid) + sum(own_bytes(each) for each in children_of(pid))


def children_of(pid: int) -> list[int]:
    """Numbers of the processes it has started."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        return found
    return found


class Memory:
    """Samples of programs by their parts: (seconds, bytes)."""

    def __init__(self) -> None:
        self.samples: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)

    def sample(self, part: str, seconds: float, size: int) -> None:
        """Note what a part has now."""
        if size:
            self.samples[part].append((seconds, size))

    def most(self, part: str) -> int:
        """The largest sample, in bytes."""
        return max((size for _, size in self.samples[part]), default=0)

    def growth(self, part: str) -> float:
        """MiB an hour, by least squares over the last three quarters: a program that starts grows."""
        samples = self.samples[part]
        samples = samples[len(samples) // 4 :]
        if len(samples) < 3 or samples[-1][0] <= samples[0][0]:
            return 0.0
        seconds, sizes = np.array(samples, float).T
        return float(np.polyfit(seconds / HOUR, sizes / MIB, 1)[0])

    def table(self) -> dict[str, dict[str, float]]:
        """Figures of every part, in MiB."""
        return {
            part: {
                "samples": len(samples),
                "first_mib": round(samples[0][1] / MIB, 1),
                "most_mib": round(self.most(part) / MIB, 1),
                "last_mib": round(samples[-1][1] / MIB, 1),
                "growth_mib_per_hour": round(self.growth(part), 2),
            }
            for part, samples in self.samples.items()
        }
