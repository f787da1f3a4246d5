"""Recordings of runs on disk, and their replay: same input, time, randomness and replies."""
