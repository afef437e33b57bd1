"""Hyperspherical variational auto-encoders: an experiment runner and a library."""
