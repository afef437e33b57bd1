"""What can be asked of the method besides one training: `experiment=NAME` with a `study` key.

A study is an object made from the keys under `study`, and called with the configuration, the
device and a function that shows progress; it returns `Findings` and writes nothing itself.
"""
