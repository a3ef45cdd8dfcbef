"""What AWS does and the emulator does not, one small module a concern; ``python -m tooling.local.adapter`` serves it.

This package runs inside the emulator's own environment and nowhere else. Each module replaces functions of the
emulator by module-level assignment in its ``install()``. It holds no code of the emulator, only what stands in front
of it. An upgrade of the emulator starts here: the version is checked, and ``tests/local`` says which part still holds.
"""
