"""The program that ``./inv`` runs: Invoke with this project's groups of tasks, version and errors.

It reads no configuration of Invoke (files, INVOKE_ variables) and has only those flags of Invoke
that have an effect here. A mistake on the command line is refused with exit code 2.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import invoke
from invoke.completion.complete import print_completion_script

from tooling import invocation
from tooling.environment import ROOT
from tooling.errors import FailedError, RefusedError
from tooling.suggestions import find_similar
from tooling.terminal.positionals import name_positionals
from tooling.terminal.task import Task, print_error
from tooling.terminal.untrusted import escape_unprintable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from invoke.parser.context import ParserContext

COMPLETED_NAMES = ("inv", "./inv")  # bash completes any path that ends in /inv too
# The flags of Invoke that have an effect here. The others set up shell commands that Invoke runs,
# and no task has one. --config belongs to the tasks: it names our own file.
CORE_FLAGS = (
    *("complete", "debug", "dry", "help", "list", "list-depth", "list-format"),
    *("print-completion-script", "version", "write-pyc"),
)
HINT = """\
{program} --help TASK explains a task and its flags. Flags without a task: --list, --version,
--print-completion-script bash (zsh, fish)."""
UNLIMITED_COLUMNS = 1000  # where standard output is no terminal, lines are not wrapped


class _Config(invoke.Config):
    """Invoke's defaults, which no file and no variable of this machine changes."""

    def __init__(self) -> None:
        super().__init__(lazy=True)

    def load_shell_env(self) -> None:
        """Load nothing."""


class Program(invoke.Program):
    """Invoke's program for this project's tasks, which are listed in groups.

    ``groups`` has the tasks and collections below each heading.
    """

    def __init__(
        self,
        namespace: invoke.Collection,
        groups: Mapping[str, Sequence[Task | invoke.Collection]],
    ) -> None:
        super().__init__(
            namespace=namespace,
            binary=invocation.spell_program(),
            binary_names=list(COMPLETED_NAMES),
            config_class=_Config,
        )
        self._groups = {
            heading: dict(pair for entry in entries for pair in _name_tasks(entry))
            for heading, entries in groups.items()
        }
        self._tasks = {
            name: task for tasks in self._groups.values() for name, task in tasks.items()
        }

    def core_args(self) -> list[invoke.Argument]:
        """Return the flags of Invoke that have an effect here."""
        return [argument for argument in super().core_args() if argument.name in CORE_FLAGS]

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse as Invoke does. Keep byte-code on, which Invoke switches off (--write-pyc)."""
        is_off = sys.dont_write_bytecode
        super().parse_core(argv)
        sys.dont_write_bytecode = is_off

    def parse_core_args(self) -> None:
        """Parse the flags before the first task. Print the completion script if it is asked for."""
        with self._refuse_mistakes():
            super().parse_core_args()
            shell = self.args["print-completion-script"].value
            if shell:
                print(_make_completion_script(shell))
                raise invoke.Exit

    def parse_tasks(self) -> None:
        """Parse the tasks and their flags. The first task may take words; see ``positionals``."""
        words = self.core.unparsed  # ["explain", "a.json", "b.json"]
        task = self._find_task(words)
        if task and task.word_flag:
            flags = (_flags_of(task), self.initial_context.flags)
            self.core.unparsed = name_positionals(words, f"--{task.word_flag}", *flags)
        with self._refuse_mistakes():
            super().parse_tasks()

    def parse_cleanup(self) -> None:
        """Do what the flags before the tasks ask for, such as --help and --complete."""
        if self.args.complete.value:
            self._print_candidates()
            raise invoke.Exit
        with self._refuse_mistakes():
            super().parse_cleanup()

    def update_config(self, merge: bool = True) -> None:  # noqa: FBT001, FBT002 - Invoke's own signature
        """Set what the flags of Invoke set, and read no file."""
        self.config.load_overrides({"run": {"dry": bool(self.args.dry.value)}}, merge=merge)

    def print_version(self) -> None:
        """Print the project's name and version."""
        import tomllib

        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        print(project["name"], project["version"])

    def print_help(self) -> None:
        """Print the tasks in groups, and how to go on."""
        print(f"Usage: {self.binary} TASK [FLAGS]\n")
        self.list_tasks()
        print(HINT.format(program=self.binary))

    def list_flat(self) -> None:
        """Print the tasks in groups, one line each; those of one collection as Invoke does."""
        if self.list_root or self.list_depth:
            super().list_flat()
            return
        name_width = max(map(len, self._tasks))
        columns = UNLIMITED_COLUMNS
        if sys.stdout.isatty():
            columns = shutil.get_terminal_size().columns
        margin = " " * (name_width + 4)
        for heading, tasks in self._groups.items():
            print(f"{heading}:")
            for name, task in tasks.items():
                line = f"  {name:{name_width}}  {_summarise(task)}"
                print(textwrap.fill(line, columns, subsequent_indent=margin))
            print()

    def _find_task(self, words: Sequence[str]) -> Task | None:
        """Return the task that the first of the words names, or None if it names none."""
        try:
            task: Task = self.collection[words[0]]
        except (IndexError, KeyError, ValueError):
            return None
        return task

    def _print_candidates(self) -> None:
        """Print what can complete the command line after "--". Print nothing to offer files."""
        program, _, rest = self.core.remainder.partition(" ")
        words = rest.split()
        if not _is_this_program(program) or self._expects_file(words):
            return
        self.core.remainder = f"{COMPLETED_NAMES[0]} {rest}"
        with contextlib.suppress(invoke.Exit, ValueError):  # ValueError: a quote is still open
            super().parse_cleanup()

    def _expects_file(self, words: Sequence[str]) -> bool:
        """Return whether the last word may be a file: a flag's value, or the word of a task."""
        task = self._find_task(words)
        if task is None or words[-1].startswith("-"):
            return False
        if task.word_flag:
            return True
        flags, before = _flags_of(task), words[-2] if len(words) > 1 else ""
        return before in flags and flags[before].takes_value

    @contextlib.contextmanager
    def _refuse_mistakes(self) -> Iterator[None]:
        """Turn a mistake on the command line into a message and the exit code of a refusal.

        Invoke raises ParseError and Exit for most of them, ValueError for a word as a number.
        """
        try:
            yield
        except (invoke.ParseError, invoke.Exit, ValueError) as error:
            if isinstance(error, invoke.Exit) and not error.message:  # no mistake: all is done
                raise
            refusal = self._describe_mistake(str(error), getattr(error, "context", None))
            print_error(f"inv: {refusal}")
            raise invoke.Exit(code=refusal.exit_code) from None

    def _describe_mistake(self, text: str, context: ParserContext | None) -> RefusedError:
        """Return a refusal for Invoke's message; ``context`` is the task that has the mistake."""
        task_name = context.name if context else None
        unknown = re.fullmatch(r"No idea what '(.*)' is!", text, re.DOTALL)
        if unknown:
            word = escape_unprintable(unknown[1])
            if not word.startswith("-"):
                return RefusedError(word, "is not a task", self._suggest_task(word))
            return self._refuse_flag(word, task_name)
        without_value = re.match(r"Flag <Argument: ([\w-]+).* needed value", text)
        if without_value:
            remedy = f"{self.binary} --help {task_name or 'TASK'} explains the flag"
            return RefusedError(f"--{without_value[1]}", "needs a value", remedy)
        return RefusedError("command line", escape_unprintable(text), f"{self.binary} --help")

    def _suggest_task(self, word: str) -> str:
        """Return the remedy for a word that is no task: the most similar task, or the list."""
        last_parts = {name.rpartition(".")[2]: name for name in self._tasks if "." in name}
        similar = find_similar(word, self._tasks) or last_parts.get(
            find_similar(word, last_parts) or ""
        )
        return f"{self.binary} {similar}" if similar else f"{self.binary} lists the tasks"

    def _refuse_flag(self, flag: str, task_name: str | None) -> RefusedError:
        """Return the refusal of a flag that the task does not have, or Invoke if that is None."""
        if task_name is not None:
            flags, where = _flags_of(self.collection[task_name]), task_name
            remedy = f"{self.binary} --help {task_name} explains its flags"
        elif any(flag in _flags_of(task) for task in self._tasks.values()):
            remedy = f"write the flags of a task after its name: {self.binary} TASK {flag}"
            return RefusedError(flag, "comes before the name of a task", remedy)
        else:
            flags, where, remedy = self.initial_context.flags, self.binary, f"{self.binary} --help"
        similar = find_similar(flag, [name for name in flags if name.startswith("--")])
        if similar:
            remedy = f"{similar}; {remedy}"
        return RefusedError(flag, f"is not a flag of {where}", remedy)


def _name_tasks(entry: Task | invoke.Collection) -> Iterator[tuple[str, Task]]:
    """Yield each task of an entry by the name that a person types."""
    if not isinstance(entry, invoke.Collection):
        yield str(entry.name), entry
        return
    for name, task in entry.tasks.items():
        yield (str(entry.name) if name == entry.default else f"{entry.name}.{name}"), task


def _summarise(task: Task) -> str:
    """Return the first line of a task's docstring, without its full stop."""
    return (task.__doc__ or "").splitlines()[0].removesuffix(".")


def _flags_of(task: Task) -> Mapping[str, invoke.Argument]:
    """Return the flags of a task by their names, such as --account and -a."""
    flags: Mapping[str, invoke.Argument] = invoke.ParserContext(args=task.get_arguments()).flags
    return flags


def _is_this_program(word: str) -> bool:
    """Return whether a word at the beginning of a command line starts this checkout's ``inv``.

    Elsewhere, ``inv`` may be the Invoke of another project.
    """
    path = shutil.which(os.path.expanduser(word))  # noqa: PTH111 - pathlib drops a leading "./"
    return path is not None and Path(path).samefile(ROOT / "inv")


def _make_completion_script(shell: str) -> str:
    """Return the script that makes a shell complete ``inv`` and ``./inv``.

    It is Invoke's, but asks this checkout's ``inv`` by its path, so that none on PATH is needed.
    Raises ParseError for a shell that Invoke does not know.
    """
    with contextlib.redirect_stdout(io.StringIO()) as script:
        print_completion_script(shell, list(COMPLETED_NAMES))
    program = shlex.quote(str(ROOT / "inv"))
    call = re.compile(r"\binv(?= (\$\{=collection_arg\} )?--complete)")
    return call.sub(lambda _: program, script.getvalue())


def main(program: invoke.Program) -> NoReturn:
    """Run the program and exit with its code. Standard output may be full, or its reader gone.

    A reader that is gone, such as ``head``, is no error.
    """
    code = _run(program)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python flushes it again
            if stream is sys.stdout and not isinstance(error, BrokenPipeError) and not code:
                code = _report_output_error(error)
    sys.exit(code)


def _run(program: invoke.Program) -> int:
    """Run the program; return its exit code, or 0 if standard output could not be written."""
    try:
        program.run()
    except SystemExit as exit_:
        if isinstance(exit_.code, str):  # a message, which Python prints
            raise
        return exit_.code or 0
    except OSError:
        if _can_write_output():
            raise
    return 0


def _can_write_output() -> bool:
    """Return whether standard output takes what was printed. What it refused is still buffered."""
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _report_output_error(error: OSError) -> int:
    """Print to standard error that standard output cannot be written; return the exit code."""
    remedy = "write to a file or a disk that has space"
    failure = FailedError("standard output", error.strerror or str(error), remedy)
    print_error(f"inv: {failure}")
    return failure.exit_code
