"""The seams: who may import whom, and the joints between Python, CloudFormation and Terraform."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from signwatch import settings as function_settings
from tests.support.repository import ROOT, files
from tooling import environment, templates, terraform
from tooling.deploy import bootstrap, stack

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.joint

# Who may import whom, by rooms. A room is a folder; the modules beside the rooms are the base.
FUNCTION_ROOMS = {
    "base": {"base", "detection"},  # pipeline alone uses the other rooms, inside functions
    "detection": {"detection"},
    "enrichment": {"enrichment", "detection", "base"},
    "alerting": {"alerting", "detection", "base"},
}
TOOLING_ROOMS = {
    "base": {"base"},
    "deploy": {"deploy", "base"},
    "checks": {"checks", "base"},
    "terminal": {"terminal", "deploy", "base"},
    "operate": {"operate", "deploy", "terminal", "base"},
    "analysis": {"analysis", "deploy", "terminal", "base"},
    "local": {"local", "deploy", "terminal", "base"},
    "local.adapter": {"local.adapter", "local.sandbox"},
    "local.sandbox": {"local.sandbox"},
}
# What tooling may take from the function.
SHARED_WITH_TOOLING = (
    "signwatch.detection",
    "signwatch.alerting.message",
    "signwatch.gsm7",
    "signwatch.settings",
)
THIRD_PARTY = {  # what each part may use beside the standard library
    "signwatch": {"boto3", "botocore", "twilio"},
    "tooling": {"boto3", "botocore", "hcl2", "lark", "yaml", "rich"},  # lark: the errors of hcl2
    "tooling.local": {"boto3", "botocore", "ministack", "hypercorn", "awslambdaric"},
    "tasks": {"invoke"},
}
ONE_MODULE_ALONE = {"tooling.terminal.task": {"invoke"}}  # Invoke's decorator
REGISTRY_HOSTS = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(org|com)|deb\.debian\.org|proxy\.golang\.org"
)
MACHINE_PATHS = re.compile(r"(?<![\w.:$}~*-])/(?:work|root|home|Users|farm)/\w")


class Imported(NamedTuple):
    module: str
    line: int
    is_lazy: bool


def own_modules() -> dict[str, Path]:
    """Dotted name to path, for every Python file that ships: the function, the tooling, the tasks."""
    found = {"tasks": ROOT / "tasks.py"}
    for base, top in ((ROOT / "lambda", "signwatch"), (ROOT, "tooling")):
        for path in sorted((base / top).rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = own_modules()


def part_of(module: str) -> str:
    return next(
        part for part in ("signwatch", "tooling.local", "tooling", "tasks") if is_in(module, part)
    )


def room_of(module: str) -> str:
    """The folder of a module below its source root: "detection", "local.sandbox"; "base" for those beside the rooms."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    return package.partition(".")[2] or "base"


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@functools.cache
def imports(module: str) -> tuple[Imported, ...]:
    """Everything that ``module`` imports, as absolute names, down to our own submodules."""
    tree = ast.parse(MODULES[module].read_text())
    lazy = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, DEFERRED)
        for inner in ast.walk(outer)
    }
    lazy |= {id(inner) for outer in tree.body if is_for_types(outer) for inner in ast.walk(outer)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found += [Imported(name, node.lineno, id(node) in lazy) for name in names(module, node)]
    return tuple(found)


DEFERRED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def names(module: str, node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        is_package = MODULES[module].name == "__init__.py"
        parents = module.split(".")[
            : None if is_package and node.level == 1 else int(is_package) - node.level
        ]
        base = ".".join([*parents, *([base] if base else [])])
    return [
        f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base
        for alias in node.names
    ]


def is_standard(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] in sys.stdlib_module_names


def is_ours(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] in {"signwatch", "tooling", "tasks", "tests"}


def ours_in(part: str) -> list[str]:
    """The modules of a part, or of one of its rooms."""
    if part in THIRD_PARTY:
        return [module for module in MODULES if part_of(module) == part]
    return [module for module in MODULES if is_in(module, part)]


class TestImports:
    @pytest.mark.parametrize("module", MODULES)
    def test_a_module_uses_only_the_packages_of_its_part(self, module: str) -> None:
        allowed = THIRD_PARTY[part_of(module)] | ONE_MODULE_ALONE.get(module, set())
        foreign = [
            found
            for found in imports(module)
            if not is_standard(found.module) and not is_ours(found.module)
        ]
        assert [found for found in foreign if found.module.split(".")[0] not in allowed] == []

    @pytest.mark.parametrize("module", MODULES)
    def test_nothing_that_ships_imports_the_tests_or_the_tasks(self, module: str) -> None:
        assert [
            found
            for found in imports(module)
            if is_in(found.module, "tests") or is_in(found.module, "tasks")
        ] == []

    @pytest.mark.parametrize("module", ours_in("signwatch"))
    def test_the_function_never_imports_the_tooling(self, module: str) -> None:
        assert [found for found in imports(module) if is_in(found.module, "tooling")] == []

    @pytest.mark.parametrize("module", ours_in("signwatch"))
    def test_a_room_of_the_function_imports_only_the_rooms_it_may(self, module: str) -> None:
        found = [one for one in imports(module) if is_in(one.module, "signwatch")]
        if module == "signwatch.pipeline":
            found = [one for one in found if not one.is_lazy]
        if room_of(module) == "detection":
            found = [one for one in found if one.module != "signwatch.gsm7"]
        assert {room_of(one.module) for one in found} <= FUNCTION_ROOMS[room_of(module)]

    @pytest.mark.parametrize("module", [*ours_in("tooling"), *ours_in("tooling.local")])
    def test_a_room_of_the_tooling_imports_only_the_rooms_it_may(self, module: str) -> None:
        rooms = {room_of(one.module) for one in imports(module) if is_in(one.module, "tooling")}
        assert rooms <= TOOLING_ROOMS[room_of(module)]

    @pytest.mark.parametrize(
        "module", [*ours_in("signwatch.detection"), "signwatch.alerting.message", "signwatch.gsm7"]
    )
    def test_a_pure_module_uses_the_standard_library_alone(self, module: str) -> None:
        assert [
            found
            for found in imports(module)
            if not is_standard(found.module) and not is_ours(found.module)
        ] == []

    def test_twilio_is_imported_in_one_place(self) -> None:
        assert {
            module
            for module in MODULES
            for found in imports(module)
            if is_in(found.module, "twilio")
        } == {"signwatch.alerting.sms"}

    @pytest.mark.parametrize("module", [*ours_in("tooling"), *ours_in("tooling.local")])
    def test_the_tooling_takes_only_pure_modules_from_the_function(self, module: str) -> None:
        taken = {found.module for found in imports(module) if is_in(found.module, "signwatch")}
        assert {
            one for one in taken if not any(is_in(one, shared) for shared in SHARED_WITH_TOOLING)
        } == set()

    def test_the_tasks_reach_the_local_emulator_inside_functions_alone(self) -> None:
        local = [found for found in imports("tasks") if is_in(found.module, "tooling.local")]
        assert local
        assert all(found.is_lazy for found in local)

    @pytest.mark.parametrize("module", ours_in("tooling.local.sandbox"))
    def test_the_sandbox_uses_the_standard_library_alone(self, module: str) -> None:
        foreign = {found.module for found in imports(module) if not is_standard(found.module)}
        assert {one for one in foreign if not is_in(one, "tooling.local.sandbox")} <= {
            "awslambdaric"
        }

    def test_an_import_that_is_forbidden_would_be_seen(self) -> None:
        assert "invoke" in {found.module for found in imports("tasks")}
        assert "tooling.errors" in {found.module for found in imports("tooling.settings")}

    def test_no_module_and_no_room_is_part_of_an_import_circle(self) -> None:
        """Imports for types and inside functions count too."""
        modules = {
            name: {found.module for found in imports(name)} & set(MODULES) - {name}
            for name in MODULES
        }
        TopologicalSorter(modules).prepare()  # raises CycleError, which names the circle
        rooms: dict[str, set[str]] = {}
        for name, known in modules.items():
            own = (part_of(name), room_of(name))
            others = {(part_of(other), room_of(other)) for other in known} - {own}
            if (
                own[1] != "base"
            ):  # the base holds pipeline, which joins the rooms, and what they all use
                rooms.setdefault(str(own), set()).update(
                    str(other) for other in others if other[1] != "base"
                )
        TopologicalSorter(rooms).prepare()
        with pytest.raises(CycleError):
            TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


class TestStart:
    def test_importing_the_handler_loads_neither_boto3_nor_twilio_and_reads_no_environment(
        self,
    ) -> None:
        program = f"""import sys
sys.path.insert(0, {str(ROOT / "lambda")!r})
import signwatch.handler
print(sorted({{name.split(".")[0] for name in sys.modules}} & {{"boto3", "botocore", "twilio", "dataclasses"}}))"""
        command = [sys.executable, "-I", "-B", "-c", program]
        done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
        assert (done.stdout.strip(), done.stderr) == ("[]", "")

    @pytest.mark.parametrize("module", ours_in("signwatch"))
    def test_nothing_but_definitions_stands_at_the_top_of_a_module_of_the_function(
        self, module: str
    ) -> None:
        kinds = (
            ast.Import,
            ast.ImportFrom,
            ast.FunctionDef,
            ast.ClassDef,
            ast.Assign,
            ast.AnnAssign,
        )
        body = ast.parse(MODULES[module].read_text()).body
        others = [node for node in body if not isinstance(node, kinds) and not is_for_types(node)]
        assert [ast.unparse(node) for node in others if not is_docstring(node)] == []

    @pytest.mark.parametrize("module", MODULES)
    def test_no_module_is_named_like_one_of_the_standard_library(self, module: str) -> None:
        assert module.rpartition(".")[2] not in sys.stdlib_module_names


def is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def template(name: str) -> dict[str, Any]:
    return templates.load(ROOT / "cfn" / f"{name}.yaml")


def resources(name: str, kind: str) -> list[dict[str, Any]]:
    return [
        body["Properties"] for body in template(name)["Resources"].values() if body["Type"] == kind
    ]


def functions() -> list[dict[str, Any]]:
    found = [
        body
        for path in sorted((ROOT / "cfn").glob("*.yaml"))
        for body in resources(path.stem, "AWS::Lambda::Function")
    ]
    assert found
    return found


def terraform_outputs() -> set[str]:
    parsed = [
        terraform.parse_hcl(path.read_text())
        for path in sorted((ROOT / "terraform-bootstrap").glob("*.tf"))
    ]
    return {
        name
        for file in parsed
        for block in file.get("output", [])
        for name in block
        if name != "__is_block__"
    }


NESTED = "AWS::CloudFormation::Stack"


def children() -> dict[str, dict[str, Any]]:
    """Template name to the parameters that the parent gives it, found by the file that its TemplateURL ends in."""
    urls = [
        (re.search(r"/([a-z]+)\.yaml", str(body["TemplateURL"])), body)
        for body in resources("parent", NESTED)
    ]
    return {found[1]: body.get("Parameters", {}) for found, body in urls if found}


def pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


class TestJoints:
    def test_the_handler_in_the_template_is_a_function_in_the_package(self) -> None:
        for body in functions():
            module, _, name = str(body["Handler"]).rpartition(".")
            defined = [
                node.name
                for node in ast.parse(MODULES[module].read_text()).body
                if isinstance(node, ast.FunctionDef)
            ]
            assert name in defined

    def test_the_template_gives_the_function_exactly_the_keys_that_it_reads(self) -> None:
        for body in functions():
            assert set(body["Environment"]["Variables"]) == set(function_settings.ENVIRONMENT_KEYS)

    def test_an_environment_key_carries_the_parameter_of_its_name(self) -> None:
        declared = template("lambda")["Parameters"]
        for body in functions():
            variables = body["Environment"]["Variables"]
            expected = {
                key: {"Ref": pascal(key.lower())}
                for key in variables
                if pascal(key.lower()) in declared
            }
            assert expected
            assert {key: variables[key] for key in expected} == expected

    def test_the_runtime_is_the_same_wherever_it_is_named(self) -> None:
        runtimes = {body["Runtime"] for body in functions()}
        layers = resources("lambda", "AWS::Lambda::LayerVersion")
        assert runtimes == {environment.NEWEST_FIRST[0]}
        assert [body["CompatibleRuntimes"] for body in layers] == [sorted(runtimes)]
        for body in functions():
            assert [
                set(body["Architectures"]) - set(layer["CompatibleArchitectures"])
                for layer in layers
            ] == [set()]

    def test_the_bootstraps_contract_is_the_terraform_outputs(self) -> None:
        assert terraform_outputs() == set(bootstrap.Bootstrap.__annotations__)

    def test_terraform_outputs_reach_the_parameters_of_the_same_name(self) -> None:
        declared = set(template("parent")["Parameters"])
        from_bootstrap = {pascal(name) for name in terraform_outputs()} & declared
        assert from_bootstrap == {
            "TemplateBucketName",
            "ArtifactBucketName",
            "AccessLogBucketName",
            "BoundaryPolicyArn",
        }
        assert from_bootstrap <= set(stack.GIVEN) <= declared

    def test_the_parent_gives_each_child_exactly_the_parameters_that_it_declares(self) -> None:
        assert children()
        for name, given in children().items():
            assert (name, set(given)) == (name, set(template(name)["Parameters"]))

    def test_a_child_stack_is_named_after_its_template(self) -> None:
        stacks = {
            name for name, body in template("parent")["Resources"].items() if body["Type"] == NESTED
        }
        assert sorted(name.lower() for name in stacks) == sorted(
            f"{name}stack" for name in children()
        )

    def test_every_output_that_the_tasks_read_is_one_of_the_parents(self) -> None:
        sources = " ".join(
            MODULES[module].read_text()
            for module in MODULES
            if part_of(module) in ("tooling", "tasks")
        )
        read = set(re.findall(r'outputs(?:\([^()]*\))?\["(\w+)"\]', sources))
        assert read
        assert read <= set(template("parent")["Outputs"])


class TestFiles:
    @pytest.mark.parametrize(
        "pattern", [REGISTRY_HOSTS, MACHINE_PATHS], ids=["registry host", "path of a machine"]
    )
    def test_no_file_names_a_package_registrys_host_or_a_path_of_somebodys_machine(
        self, pattern: re.Pattern[str]
    ) -> None:
        found = [f"{path}: {line.strip()[:80]}" for path, line in lines() if pattern.search(line)]
        assert found == []

    def test_no_file_names_the_folder_that_this_checkout_lies_in(self) -> None:
        assert [str(path) for path, line in lines() if f"{ROOT}/" in line] == []

    def test_such_a_host_or_path_would_be_found(self) -> None:
        assert REGISTRY_HOSTS.search("https://files.python" + "hosted.org/x")
        assert MACHINE_PATHS.search("open('/ho" + "me/somebody/x')")
        assert not MACHINE_PATHS.search("https://example.com/home/page")


def lines() -> list[tuple[Path, str]]:
    found = []
    for path in files():
        try:
            text = (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue
        found += [(path, line) for line in text.splitlines()]
    return found
