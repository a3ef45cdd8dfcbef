"""Checks the import rules, and the joints between Python, CloudFormation and Terraform."""

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
from signwatch.detection import envelope
from tests.support.repository import ROOT, files
from tooling import environment, parameters, templates, terraform
from tooling.deploy import bootstrap

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.joint

# A room is a folder. The modules beside the rooms are the base, "signwatch" or "tooling".
BASES = {"signwatch", "tooling"}
# What a room may import from its own package, besides itself.
ROOM_IMPORTS = {
    # pipeline also imports enrichment and alerting, inside functions: see PIPELINE.
    "signwatch": {"signwatch.detection"},
    # detection is pure. It also imports gsm7: see GSM7.
    "signwatch.detection": set(),
    # enrichment and alerting do not know each other.
    "signwatch.enrichment": {"signwatch", "signwatch.detection"},
    "signwatch.alerting": {"signwatch", "signwatch.detection"},
    # The base of the tooling knows no room.
    "tooling": set(),
    # deploy and checks know the base alone.
    "tooling.deploy": {"tooling"},
    "tooling.checks": {"tooling"},
    # terminal shows what deploy reports.
    "tooling.terminal": {"tooling", "tooling.deploy"},
    # The rooms behind the other tasks use deploy and terminal, but not each other.
    "tooling.operate": {"tooling", "tooling.deploy", "tooling.terminal"},
    "tooling.analysis": {"tooling", "tooling.deploy", "tooling.terminal"},
    "tooling.local": {"tooling", "tooling.deploy", "tooling.terminal"},
    # The adapter runs in the emulator's process. It starts sandboxes and knows no other room.
    "tooling.local.adapter": {"tooling.local.sandbox"},
    # A sandbox uses the standard library alone.
    "tooling.local.sandbox": set(),
}
PIPELINE = "signwatch.pipeline"
GSM7 = "signwatch.gsm7"
# What the tooling may import from the function.
SHARED_WITH_TOOLING = (
    "signwatch.detection",
    "signwatch.alerting.message",
    "signwatch.gsm7",
    "signwatch.settings",
)
# What each part may import besides the standard library; hcl2 raises the errors of lark.
THIRD_PARTY = {
    "signwatch": {"boto3", "botocore", "twilio"},
    "tooling.local": {"boto3", "botocore", "ministack", "hypercorn", "awslambdaric"},
    "tooling": {"boto3", "botocore", "hcl2", "lark", "yaml", "rich"},
    "tasks": {"invoke"},
}
ONE_MODULE_ALONE = {
    "tooling.terminal.task": {"invoke"},  # Invoke's decorator
    "tooling.terminal.positionals": {"invoke"},  # types alone
    "tooling.terminal.program": {"invoke"},  # Invoke's program
    "tooling.analysis.record_cutter": {"msgspec"},
    "tooling.deploy.aws_ranges": {"msgspec"},
    "tooling.deploy.phone_numbers": {"phonenumbers"},
    "tooling.deploy.twilio_api": {"twilio"},
}
REGISTRY_HOSTS = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(org|com)|deb\.debian\.org|proxy\.golang\.org"
)
MACHINE_PATHS = re.compile(r"(?<![\w.:$}~*-])/(?:work|root|home|Users|farm)/\w")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
NESTED_STACK = "AWS::CloudFormation::Stack"


class Import(NamedTuple):
    """One imported module; ``is_lazy`` if it is imported inside a function or for types alone."""

    module: str
    line: int
    is_lazy: bool


def own_modules() -> dict[str, Path]:
    """Dotted name and path of every Python file of the function, the tooling and the tasks."""
    modules = {"tasks": ROOT / "tasks.py"}
    for root, package in ((ROOT / "lambda", "signwatch"), (ROOT, "tooling")):
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            modules[".".join(parts)] = path
    return modules


MODULES = own_modules()


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def is_package(module: str) -> bool:
    return MODULES[module].name == "__init__.py"


def part_of(module: str) -> str:
    """The key of THIRD_PARTY for a module."""
    return next(part for part in THIRD_PARTY if is_in(module, part))


def room_of(module: str) -> str:
    """The folder of a module as a dotted name; "signwatch" or "tooling" for a base module."""
    return module if is_package(module) else module.rpartition(".")[0]


def is_standard(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] in sys.stdlib_module_names


def is_ours(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] in {"signwatch", "tooling", "tasks", "tests"}


@functools.cache
def imports(module: str) -> tuple[Import, ...]:
    """Everything that a module imports, by absolute names, down to our own submodules."""
    tree = ast.parse(MODULES[module].read_text())
    blocks = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS) or is_for_types(node)]
    lazy = {id(node) for block in blocks for node in ast.walk(block)}
    return tuple(
        Import(name, node.lineno, id(node) in lazy)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in imported_names(module, node)
    )


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imported_names(module: str, node: ast.Import | ast.ImportFrom) -> list[str]:
    """The absolute names of the modules in one import statement."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    source = node.module or ""
    if node.level:
        parents = module.split(".")
        parents = parents[: len(parents) + is_package(module) - node.level]
        source = ".".join([*parents, *source.split(".")]).rstrip(".")
    names = []
    for alias in node.names:
        submodule = f"{source}.{alias.name}"
        names.append(submodule if submodule in MODULES else source)
    return names


def own_imports(module: str) -> set[str]:
    """Our own modules that a module imports."""
    return {entry.module for entry in imports(module)} & set(MODULES) - {module}


def foreign_imports(module: str) -> set[str]:
    """The third-party packages that a module imports."""
    return {
        entry.module.split(".")[0]
        for entry in imports(module)
        if not is_standard(entry.module) and not is_ours(entry.module)
    }


def modules_in(package: str) -> list[str]:
    return [module for module in MODULES if is_in(module, package)]


class TestImports:
    @pytest.mark.parametrize("module", MODULES)
    def test_a_module_imports_only_the_third_party_packages_of_its_part(self, module: str) -> None:
        allowed = THIRD_PARTY[part_of(module)] | ONE_MODULE_ALONE.get(module, set())
        assert foreign_imports(module) <= allowed

    @pytest.mark.parametrize("module", sorted(MODULES.keys() - {"tooling.start"}))
    def test_no_module_imports_the_tests_or_the_tasks_but_for_the_start(self, module: str) -> None:
        forbidden = [
            entry
            for entry in imports(module)
            if is_in(entry.module, "tests") or is_in(entry.module, "tasks")
        ]
        assert forbidden == []

    @pytest.mark.parametrize("module", modules_in("signwatch"))
    def test_the_function_does_not_import_the_tooling(self, module: str) -> None:
        assert [entry for entry in imports(module) if is_in(entry.module, "tooling")] == []

    def test_every_room_has_an_import_rule(self) -> None:
        assert {room_of(module) for module in MODULES if module != "tasks"} == set(ROOM_IMPORTS)

    @pytest.mark.parametrize("module", [module for module in MODULES if module != "tasks"])
    def test_a_module_imports_only_the_rooms_that_its_room_may(self, module: str) -> None:
        room = room_of(module)
        package = room.split(".")[0]
        entries = [entry for entry in imports(module) if is_in(entry.module, package)]
        if module == PIPELINE:
            entries = [entry for entry in entries if not entry.is_lazy]
        if room == "signwatch.detection":
            entries = [entry for entry in entries if entry.module != GSM7]
        assert {room_of(entry.module) for entry in entries} <= ROOM_IMPORTS[room] | {room}

    @pytest.mark.parametrize(
        "module", [*modules_in("signwatch.detection"), "signwatch.alerting.message", GSM7]
    )
    def test_a_pure_module_imports_the_standard_library_alone(self, module: str) -> None:
        assert foreign_imports(module) == set()

    def test_one_module_of_the_function_and_one_of_the_tooling_import_twilio(self) -> None:
        assert [module for module in MODULES if "twilio" in foreign_imports(module)] == [
            "signwatch.alerting.sms",
            "tooling.deploy.twilio_api",
        ]

    @pytest.mark.parametrize("module", modules_in("tooling"))
    def test_the_tooling_imports_only_shared_modules_of_the_function(self, module: str) -> None:
        forbidden = [
            entry
            for entry in imports(module)
            if is_in(entry.module, "signwatch")
            and not any(is_in(entry.module, shared) for shared in SHARED_WITH_TOOLING)
        ]
        assert forbidden == []

    def test_the_tasks_import_the_local_emulator_inside_functions_alone(self) -> None:
        local = [entry for entry in imports("tasks") if is_in(entry.module, "tooling.local")]
        assert local
        assert all(entry.is_lazy for entry in local)

    @pytest.mark.parametrize("module", modules_in("tooling.local.sandbox"))
    def test_the_sandbox_imports_the_standard_library_and_the_runtime_client_alone(
        self, module: str
    ) -> None:
        assert foreign_imports(module) <= {"awslambdaric"}
        assert own_imports(module) <= set(modules_in("tooling.local.sandbox"))

    def test_imports_are_found(self) -> None:
        assert "invoke" in foreign_imports("tasks")
        assert "tooling.errors" in own_imports("tooling.settings")


class TestCircles:
    """Imports for types and inside functions count too."""

    def test_no_module_is_in_an_import_circle(self) -> None:
        assert_no_circle({module: own_imports(module) for module in MODULES})

    def test_no_room_is_in_an_import_circle(self) -> None:
        """The base is no room: every room uses it, and its pipeline joins the rooms."""
        graph: dict[str, set[str]] = {}
        for module in MODULES:
            room = room_of(module)
            targets = {room_of(name) for name in own_imports(module)} - {room} - BASES
            if room not in BASES and module != "tasks":
                graph.setdefault(room, set()).update(targets)
        assert_no_circle(graph)

    def test_a_circle_is_found(self) -> None:
        with pytest.raises(CycleError):
            assert_no_circle({"a": {"b"}, "b": {"a"}})


def assert_no_circle(graph: dict[str, set[str]]) -> None:
    """Raise CycleError, which names the circle, if there is one."""
    TopologicalSorter(graph).prepare()


class TestModules:
    def test_importing_the_handler_loads_no_client_library_and_reads_no_environment(self) -> None:
        program = f"""import sys
sys.path.insert(0, {str(ROOT / "lambda")!r})
import signwatch.handler
loaded = {{name.split(".")[0] for name in sys.modules}}
print(sorted(loaded & {{"boto3", "botocore", "twilio", "dataclasses"}}))"""
        command = [sys.executable, "-I", "-B", "-c", program]
        done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
        assert (done.stdout.strip(), done.stderr) == ("[]", "")

    @pytest.mark.parametrize("module", modules_in("signwatch"))
    def test_a_module_of_the_function_has_only_definitions_at_its_top(self, module: str) -> None:
        definitions = (
            ast.Import,
            ast.ImportFrom,
            ast.FunctionDef,
            ast.ClassDef,
            ast.Assign,
            ast.AnnAssign,
        )
        statements = [
            ast.unparse(node)
            for node in ast.parse(MODULES[module].read_text()).body
            if not isinstance(node, definitions)
            and not is_for_types(node)
            and not is_docstring(node)
        ]
        assert statements == []

    @pytest.mark.parametrize("module", MODULES)
    def test_no_module_has_the_name_of_a_standard_module(self, module: str) -> None:
        assert module.rpartition(".")[2] not in sys.stdlib_module_names


def is_docstring(node: ast.AST) -> bool:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)


def template(name: str) -> dict[str, Any]:
    return templates.load(ROOT / "cfn" / f"{name}.yaml")


def resources(name: str, kind: str) -> list[dict[str, Any]]:
    """The properties of every resource of a type in a template."""
    bodies = template(name)["Resources"].values()
    return [body["Properties"] for body in bodies if body["Type"] == kind]


def functions() -> list[dict[str, Any]]:
    """The properties of every Lambda function in the templates."""
    bodies = [
        body
        for path in sorted((ROOT / "cfn").glob("*.yaml"))
        for body in resources(path.stem, "AWS::Lambda::Function")
    ]
    assert bodies
    return bodies


def terraform_outputs() -> set[str]:
    """The names of the bootstrap's Terraform outputs."""
    names = set()
    for path in sorted((ROOT / "terraform-bootstrap").glob("*.tf")):
        for block in terraform.parse_hcl(path.read_text()).get("output", []):
            names |= set(block)
    return names - {"__is_block__"}


def children() -> dict[str, dict[str, Any]]:
    """The parameters that the parent passes to each child, by the child's template name."""
    passed = {}
    for body in resources("parent", NESTED_STACK):
        url = re.search(r"/([a-z]+)\.yaml", str(body["TemplateURL"]))
        if url:
            passed[url[1]] = body.get("Parameters", {})
    return passed


def pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


class TestJoints:
    def test_the_handler_in_the_template_is_a_function_in_the_package(self) -> None:
        for body in functions():
            module, _, name = str(body["Handler"]).rpartition(".")
            nodes = ast.parse(MODULES[module].read_text()).body
            assert name in [node.name for node in nodes if isinstance(node, ast.FunctionDef)]

    def test_the_template_sets_exactly_the_environment_keys_that_the_function_reads(self) -> None:
        for body in functions():
            assert set(body["Environment"]["Variables"]) == set(function_settings.ENVIRONMENT_KEYS)

    def test_an_environment_key_has_the_value_of_the_parameter_of_its_name(self) -> None:
        declared = template("lambda")["Parameters"]
        for body in functions():
            variables = body["Environment"]["Variables"]
            parameters = {key: pascal(key.lower()) for key in variables}
            expected = {key: {"Ref": name} for key, name in parameters.items() if name in declared}
            assert expected
            assert {key: variables[key] for key in expected} == expected

    def test_the_trails_filter_has_the_names_of_the_rules(self) -> None:
        patterns = [rule["EventPattern"] for rule in resources("eventbridge", "AWS::Events::Rule")]
        names = [name for each in patterns for name in each.get("detail", {}).get("eventName", [])]
        terms = " || ".join(f"($.eventName = {name})" for name in names)
        filters = resources("cloudtrail", "AWS::Logs::SubscriptionFilter")
        assert [body["FilterPattern"] for body in filters] == [f"{{ {terms} }}"]

    def test_the_queues_that_bring_events_back_have_the_names_that_the_function_reads(self) -> None:
        queues = resources("foundation", "AWS::SQS::Queue")
        passed = children()["foundation"]
        names = [passed[queue["QueueName"]["Ref"]]["Fn::Sub"] for queue in queues]
        assert names == ["${NamePrefix}" + suffix for suffix in envelope.RETURNING_QUEUE_SUFFIXES]

    def test_the_runtime_is_the_same_everywhere(self) -> None:
        runtimes = {body["Runtime"] for body in functions()}
        layers = resources("lambda", "AWS::Lambda::LayerVersion")
        assert runtimes == {environment.PYTHONS_NEWEST_FIRST[0]}
        assert [body["CompatibleRuntimes"] for body in layers] == [sorted(runtimes)]
        (layer,) = layers
        for body in functions():
            assert set(body["Architectures"]) <= set(layer["CompatibleArchitectures"])

    def test_the_fields_of_the_bootstrap_are_the_terraform_outputs(self) -> None:
        assert terraform_outputs() == set(bootstrap.Bootstrap.__annotations__)

    def test_terraform_outputs_are_passed_to_the_parameters_of_the_same_name(self) -> None:
        declared = set(template("parent")["Parameters"])
        from_bootstrap = {pascal(name) for name in terraform_outputs()} & declared
        assert from_bootstrap == {
            "TemplateBucketName",
            "ArtifactBucketName",
            "AccessLogBucketName",
            "BoundaryPolicyArn",
            "ServiceRoleArn",
        }
        assert from_bootstrap <= set(parameters.DEPLOY_PARAMETERS) <= declared

    def test_the_parent_passes_each_child_exactly_its_parameters(self) -> None:
        assert children()
        for name, passed in children().items():
            assert (name, set(passed)) == (name, set(template(name)["Parameters"]))

    def test_a_child_stack_is_named_after_its_template(self) -> None:
        bodies = template("parent")["Resources"].items()
        stacks = [name.lower() for name, body in bodies if body["Type"] == NESTED_STACK]
        assert sorted(stacks) == sorted(f"{name}stack" for name in children())

    def test_the_forwarding_rules_match_what_the_rules_match(self) -> None:
        rules = template("eventbridge")["Resources"]
        forwarding = rules["ForwardingRule"]["Properties"]
        names = ("ConsoleSignInRule", "IdentityCenterSignInRule", "SignInAnomalyRule")
        patterns = [dict(rules[name]["Properties"]["EventPattern"]) for name in names]
        sources = [source for pattern in patterns for source in pattern.pop("source")]
        assert forwarding["EventPattern"] == {
            "source": list(dict.fromkeys(sources)),
            "$or": patterns,
        }
        forwarder = template("forwarder")["Resources"]["ForwarderRule"]["Properties"]
        for key in ("EventPattern", "State", "EventBusName"):
            assert forwarder[key] == forwarding[key]

    def test_the_organisation_may_send_what_the_rules_match(self) -> None:
        rules = template("eventbridge")["Resources"]
        statement = rules["OrganizationPolicy"]["Properties"]["Statement"]
        sources = statement["Condition"]["ForAllValues:StringEquals"]["events:source"]
        assert sources == rules["ForwardingRule"]["Properties"]["EventPattern"]["source"]

    def test_every_output_that_the_tasks_read_is_an_output_of_the_parent(self) -> None:
        read: set[str] = set()
        for module in MODULES:
            if part_of(module) in ("tooling", "tasks"):
                source = MODULES[module].read_text()
                read |= set(re.findall(r'outputs(?:\([^()]*\))?\["(\w+)"\]', source))
        assert read
        assert read <= set(template("parent")["Outputs"])


class TestFiles:
    @pytest.mark.parametrize(
        "pattern", [REGISTRY_HOSTS, MACHINE_PATHS], ids=["registry host", "path of a machine"]
    )
    def test_no_file_contains_the_host_of_a_registry_or_a_path_of_a_machine(
        self, pattern: re.Pattern[str]
    ) -> None:
        matches = [f"{path}: {line.strip()[:80]}" for path, line in lines() if pattern.search(line)]
        assert matches == []

    def test_no_file_contains_the_path_of_this_checkout(self) -> None:
        assert [str(path) for path, line in lines() if f"{ROOT}/" in line] == []

    def test_such_a_host_or_path_is_found(self) -> None:
        assert REGISTRY_HOSTS.search("https://files.python" + "hosted.org/x")
        assert MACHINE_PATHS.search("open('/ho" + "me/somebody/x')")
        assert not MACHINE_PATHS.search("https://example.com/home/page")


def lines() -> list[tuple[Path, str]]:
    """Every line of every text file, with its file."""
    numbered = []
    for path in files():
        try:
            text = (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue
        numbered += [(path, line) for line in text.splitlines()]
    return numbered
