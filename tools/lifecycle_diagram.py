"""Print the lifecycle of a run as a Mermaid state diagram, for the documentation."""

from __future__ import annotations

from worker.fleet.control.lifecycle import diagram

if __name__ == "__main__":
    print("\n".join(diagram()))
