"""What a run writes, and how what a folder holds is read with care."""
