"""Completes the emulator where AWS does more; ``python -m tooling.local.adapter`` serves it.

Each module adds one AWS behaviour: its ``install()`` replaces functions of the emulator. The
package runs in the emulator's own environment (``.venv-local``) and contains no code of the
emulator. When the emulator is upgraded, start here: ``__main__`` checks the version, and
``tests/local`` shows which module still works.
"""
