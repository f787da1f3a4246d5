"""The fleet worker: claims runs from the control plane, executes them, reports their events."""
