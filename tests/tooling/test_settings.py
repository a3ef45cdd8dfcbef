"""Settings: flags win over the file, the file over the Terraform defaults; and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.refusals import refusal_of
from tests.support.repository import ROOT
from tooling import settings as tooling_settings
from tooling import terraform
from tooling.errors import RefusedError
from tooling.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

VARIABLES = """
variable "account_id" { type = string }
variable "region" {
  type    = string
  default = "eu-north-1"
}
variable "prefix" { default = "watch" }
variable "trusted_principal_arns" { default = [] }
"""
ACCOUNT = "111122223333"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with its own defaults, which differ from those in the repository.

    The parent template is the real one.
    """
    (tmp_path / "terraform-bootstrap").mkdir()
    (tmp_path / "terraform-bootstrap" / "variables.tf").write_text(VARIABLES)
    (tmp_path / "cfn").symlink_to(ROOT / "cfn")
    return tmp_path


def write(root: Path, text: str) -> None:
    (root / "signwatch.toml").write_text(text)


class TestPrecedence:
    def test_defaults_are_those_of_the_terraform_files(self, root: Path) -> None:
        settings = Settings.load(account=ACCOUNT, root=root)
        defaults = terraform.load_defaults(ROOT / "terraform-bootstrap")
        assert (settings.region, settings.prefix) == (defaults["region"], defaults["prefix"])
        assert settings.stack == settings.prefix

    def test_file_wins_over_the_defaults(self, root: Path) -> None:
        write(
            root, f'profile = "p"\naccount = "{ACCOUNT}"\nregion = "eu-west-3"\nprefix = "mine"\n'
        )
        settings = Settings.load(root=root)
        assert (settings.profile, settings.account, settings.region, settings.prefix) == (
            "p",
            ACCOUNT,
            "eu-west-3",
            "mine",
        )

    def test_flags_win_over_the_file(self, root: Path) -> None:
        write(
            root, 'profile = "p"\naccount = "999999999999"\nregion = "eu-west-3"\nprefix = "mine"\n'
        )
        settings = Settings.load(
            profile="q", account=ACCOUNT, region="us-east-2", prefix="yours", root=root
        )
        assert (settings.profile, settings.account, settings.region, settings.prefix) == (
            "q",
            ACCOUNT,
            "us-east-2",
            "yours",
        )

    def test_assignment_wins_over_the_file_and_leaves_other_parameters(self, root: Path) -> None:
        write(root, '[parameters]\nAlertEmail = "a@example.com"\nLogRetentionDays = 90\n')
        settings = Settings.load(
            account=ACCOUNT, assignments=["AlertEmail=b@example.com"], root=root
        )
        assert settings.parameters == {"AlertEmail": "b@example.com", "LogRetentionDays": "90"}

    def test_value_may_be_empty_or_contain_an_equals_sign(self, root: Path) -> None:
        settings = Settings.load(
            account=ACCOUNT, assignments=["AlertEmail=a=b@c.de", "KnownNetworks="], root=root
        )
        assert settings.parameters == {"AlertEmail": "a=b@c.de", "KnownNetworks": ""}

    def test_config_names_another_file(self, root: Path, tmp_path: Path) -> None:
        write(root, f'account = "{ACCOUNT}"\nprefix = "mine"\n')
        (tmp_path / "other.toml").write_text('account = "444455556666"\n')
        settings = Settings.load(config=str(tmp_path / "other.toml"), root=root)
        assert (settings.account, settings.prefix) == ("444455556666", "signwatch")

    def test_bootstrap_variables_keep_their_types(self, root: Path) -> None:
        write(root, '[bootstrap]\ntrusted_principal_arns = ["arn:aws:iam::111122223333:role/ci"]\n')
        settings = Settings.load(account=ACCOUNT, root=root)
        assert settings.bootstrap == {
            "trusted_principal_arns": ["arn:aws:iam::111122223333:role/ci"]
        }


class TestRegion:
    """A Region that neither a flag nor the file names."""

    @pytest.fixture(autouse=True)
    def configure(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        config = "[default]\nregion = eu-west-1\n[profile p]\nregion = eu-west-2\n[profile q]\n"
        (tmp_path / "aws-config").write_text(config)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))

    def region_of(self, root: Path, **flags: str) -> tuple[str, str]:
        settings = Settings.load(account=ACCOUNT, root=root, **flags)
        return settings.region, settings.region_source

    def test_profile_comes_before_the_default(self, root: Path) -> None:
        assert self.region_of(root, profile="p") == ("eu-west-2", "from profile p")
        assert self.region_of(root) == ("eu-west-1", "from profile default")
        assert self.region_of(root, profile="q") == ("us-east-1", "the default")

    def test_environment_comes_before_the_profile(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
        assert self.region_of(root, profile="p") == ("eu-west-3", "from AWS_DEFAULT_REGION")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        assert self.region_of(root, profile="p") == ("eu-central-1", "from AWS_REGION")

    def test_flag_and_file_come_before_the_environment(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        write(root, 'region = "eu-south-1"\n')
        assert self.region_of(root, profile="p") == ("eu-south-1", "")
        assert self.region_of(root, region="us-west-2") == ("us-west-2", "")

    def test_malformed_region_is_refused_with_its_place(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_REGION", "Frankfurt")
        text = refusal_of(lambda: self.region_of(root))
        assert text.startswith("region 'Frankfurt': is malformed (from AWS_REGION)")

    def test_unknown_profile_is_refused_by_name(self, root: Path) -> None:
        text = refusal_of(lambda: self.region_of(root, profile="nosuch"))
        assert text.startswith("profile 'nosuch': is not in your AWS configuration")


class TestVariablesFile:
    """A variables.tf that Terraform accepts and python-hcl2 does not."""

    ODD_TEXTS = (
        'variable "prefix" {\n  default = /* a comment */ "x"\n}\n',
        'variable "prefix" {\n  description = <<-EOT\n    text\n    EOT  \n  default = "x"\n}\n',
        "",
        'variable "another" { default = "x" }\n',
    )

    @pytest.mark.parametrize("text", ODD_TEXTS)
    def test_it_stops_no_task_that_does_not_need_it(self, root: Path, text: str) -> None:
        (root / "terraform-bootstrap" / "variables.tf").write_text(text)
        settings = Settings.load(account=ACCOUNT, root=root)
        assert (settings.region, settings.prefix) == ("us-east-1", "signwatch")
        tooling_settings.require_variables(settings)

    @pytest.mark.parametrize("text", ODD_TEXTS[:2])
    def test_it_stops_a_bootstrap_whose_variables_it_hides(self, root: Path, text: str) -> None:
        (root / "terraform-bootstrap" / "variables.tf").write_text(text)
        write(root, "[bootstrap]\nold_version_days = 30\n")
        settings = Settings.load(account=ACCOUNT, root=root)
        refusal = refusal_of(lambda: tooling_settings.require_variables(settings))
        assert refusal.startswith(
            f"{root / 'terraform-bootstrap' / 'variables.tf'}: cannot be read"
        )
        assert "from line 2 on" in refusal

    def test_byte_order_mark_is_read(self, root: Path) -> None:
        text = "\ufeff" + VARIABLES
        (root / "terraform-bootstrap" / "variables.tf").write_text(text, encoding="utf-8")
        write(root, '[bootstrap]\ntrusted_principal_arns = "x"\n')
        assert "takes a value like []" in refusal_of(
            lambda: Settings.load(account=ACCOUNT, root=root)
        )


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("org/repo.git", 'write it like "org/repo"'),
        ("https://github.com/org/repo", 'write it like "org/repo"'),
        ("https://github.com/org/repo.git/", 'write it like "org/repo"'),
        ("git@github.com:org/my.repo.git", 'write it like "org/my.repo"'),
        (" org/repo ", 'write it like "org/repo"'),
        ("org", "write it as GitHub shows it: ORG/REPO"),
        ("org/my repo", "write it as GitHub shows it: ORG/REPO"),
        ("org/*", "write it as GitHub shows it: ORG/REPO"),
    ],
)
def test_repository_that_is_not_written_as_org_and_repo_is_refused(
    root: Path, name: str, remedy: str
) -> None:
    write(root, f'[bootstrap]\ngithub_repository = "{name}"\n')
    text = refusal_of(lambda: Settings.load(account=ACCOUNT, root=root))
    assert text.startswith(f"{root / 'signwatch.toml'} [bootstrap] github_repository: is {name!r}")
    assert text.endswith(remedy)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("KnownNetworks", '["203.0.113.0/24", "2001:db8::/48"]', "203.0.113.0/24,2001:db8::/48"),
        ("LogRetentionDays", "365", "365"),
        ("AccountLabel", "true", "true"),
    ],
)
def test_parameters_become_texts_for_cloudformation(
    root: Path, name: str, value: str, text: str
) -> None:
    write(root, f"[parameters]\n{name} = {value}\n")
    assert Settings.load(account=ACCOUNT, root=root).parameters == {name: text}


WRONG_PARAMETERS = [  # name, value, and a text in the refusal
    ("knownnetworks", "", "is not a parameter of the stack\nTry: write KnownNetworks"),
    ("NamePrefix", "x", "is set by invoke deploy itself"),
    ("AlertOff", "unrecognized-source", "Try: write unrecognised-source"),
    ("AlertOn", "no-mfa", "Try: write it in AlertOff"),
    ("TimeZone", "Mars/Olympus", "'Mars/Olympus' is not the name of a time zone"),
    ("KnownNetworks", "203.0.113.77/24", "write 203.0.113.0/24"),
    ("KnownNetworks", "0.0.0.0/0", "is wider than /8"),
    ("LogRetentionDays", "360", "Try: write 365"),
    ("AlertEmail", "nobody", "must be an e-mail address"),
    ("AccountLabel", "x" * 21, "must be at most 20 letters"),
    ("KnownNetworks", ",".join(["192.0.2.1"] * 251), "may have at most 2000"),
]


class TestParameters:
    @pytest.mark.parametrize(("name", "value", "text"), WRONG_PARAMETERS)
    def test_wrong_parameter_in_the_file_is_refused_with_its_place(
        self, root: Path, name: str, value: str, text: str
    ) -> None:
        write(root, f"[parameters]\n{name} = '{value}'\n")
        for load in (
            lambda: Settings.load(account=ACCOUNT, root=root),
            lambda: tooling_settings.read_parameters(root=root),
        ):
            message = refusal_of(load)
            assert message.startswith(f"{root / 'signwatch.toml'} [parameters] {name}: ")
            assert text in message

    @pytest.mark.parametrize(("name", "value", "text"), WRONG_PARAMETERS)
    def test_wrong_parameter_of_set_is_refused_with_its_place(
        self, root: Path, name: str, value: str, text: str
    ) -> None:
        message = refusal_of(
            lambda: Settings.load(account=ACCOUNT, assignments=[f"{name}={value}"], root=root)
        )
        assert message.startswith(f"--set {name}: ")
        assert text in message

    def test_wrong_parameter_in_the_file_is_refused_even_if_set_replaces_it(
        self, root: Path
    ) -> None:
        write(root, "[parameters]\nTimeZone = 'Mars/Olympus'\n")
        assert "Mars/Olympus" in refusal_of(
            lambda: Settings.load(account=ACCOUNT, assignments=["TimeZone=UTC"], root=root)
        )

    def test_more_than_the_functions_environment_holds_is_refused(self, root: Path) -> None:
        networks = ",".join(f"203.0.113.{number}" for number in range(140))
        endpoints = ",".join(["vpce-0123456789abcdef0"] * 10)
        key = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/mrk-{'0' * 32}"
        email = f"{'a' * 1400}@example.com"
        write(
            root,
            f"[parameters]\nKnownNetworks = '{networks}'\nAllowedVpcEndpointIds = '{endpoints}'\n"
            f"IdentityStoreKeyArn = '{key}'\n",
        )
        message = refusal_of(
            lambda: Settings.load(account=ACCOUNT, assignments=[f"AlertEmail={email}"], root=root)
        )
        assert "a Lambda function's environment holds 4,096 in all" in message


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("acount = '1'", "`acount` is not a key"),
            ("acount = '1'", "Try: use account as in"),
            ("[parameter]\n", "Try: use parameters as in"),
            (
                "xyz = '1'",
                "Try: use profile, account, region, prefix, regions, parameters, bootstrap as in",
            ),
            ("account = 111122223333", "`account` is not a key, or not of the right kind"),
            ("parameters = 'x'", "`parameters` is not a key, or not of the right kind"),
            ("account = ", "cannot be read"),
            (
                "[bootstrap]\ntrusted_principals = ['x']",
                "signwatch.toml [bootstrap] trusted_principals: is not a variable",
            ),
            (
                "[bootstrap]\ntrusted_principals = ['x']",
                "Try: use trusted_principal_arns as in",
            ),
            (
                "[bootstrap]\ntrusted_principal_arns = 5",
                "[bootstrap] trusted_principal_arns: is 5, and takes",
            ),
            (
                "[bootstrap]\ntrusted_principal_arns = 'Admin'",
                "is 'Admin', and takes a value like []",
            ),
            (
                "[bootstrap]\ntrusted_principal_arns = [5]",
                "[bootstrap] trusted_principal_arns: is [5]",
            ),
            ("[bootstrap]\nregion = 'eu-west-1'", "[bootstrap] region: is not a variable"),
            ("[parameters]\nAlertEmail = {a = 1}", "[parameters] AlertEmail: is not a string"),
            ("[parameters]\nAlertEmail = 2026-11-24", "[parameters] AlertEmail: is not a string"),
        ],
    )
    def test_broken_file_is_refused_with_the_reason(
        self, root: Path, text: str, message: str
    ) -> None:
        write(root, text)
        with pytest.raises(RefusedError) as refused:
            Settings.load(account=ACCOUNT, root=root)
        assert message in str(refused.value)

    def test_file_that_is_not_utf_8_is_refused(self, root: Path) -> None:
        (root / "signwatch.toml").write_bytes(b"account = '\xff'")
        with pytest.raises(RefusedError, match="cannot be read"):
            Settings.load(account=ACCOUNT, root=root)

    def test_file_that_nests_too_deeply_is_refused(self, root: Path) -> None:
        write(root, f"account = {'[' * 100_000}{']' * 100_000}")
        with pytest.raises(RefusedError, match=r"signwatch\.toml: nests too deeply"):
            Settings.load(account=ACCOUNT, root=root)

    def test_missing_file_of_config_is_refused(self, root: Path) -> None:
        with pytest.raises(RefusedError, match=r"nowhere\.toml: cannot be read"):
            Settings.load(account=ACCOUNT, config=str(root / "nowhere.toml"), root=root)

    def test_account_must_be_named(self, root: Path) -> None:
        with pytest.raises(RefusedError, match="--account ID"):
            Settings.load(root=root)

    @pytest.mark.parametrize("assignment", ["AlertEmail", "=x", ""])
    def test_assignment_needs_a_name_and_an_equals_sign(self, root: Path, assignment: str) -> None:
        with pytest.raises(RefusedError, match="is not of the form Name=Value"):
            Settings.load(account=ACCOUNT, assignments=[assignment], root=root)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"account": "11112222333"},
            {"account": "1111-2222-3333"},
            {"account": "١١١١٢٢٢٢٣٣٣٣"},
            {"region": "Frankfurt"},
            {"region": "eu-west-1 "},
            {"prefix": "ab"},
            {"prefix": "Signwatch"},
            {"prefix": "sign--watch"},
            {"prefix": "signwatch-"},
            {"prefix": "1signwatch"},
            {"prefix": "a" * 21},
            {"prefix": "a-b-c-d-e-f-g-h-i-j-k"},
        ],
    )
    def test_value_of_the_wrong_form_is_refused(self, root: Path, wrong: dict[str, Any]) -> None:
        with pytest.raises(RefusedError, match="is malformed"):
            Settings.load(**{"account": ACCOUNT, **wrong}, root=root)

    @pytest.mark.parametrize(
        ("prefix", "reserved"),
        [
            ("aws-watch", "aws"),
            ("awswatch", "aws"),
            ("ssm-watch", "ssm"),
            ("sthree-watch", "sthree"),
            ("amzn-s3-demo", "amzn-s3-demo"),
        ],
    )
    def test_prefix_that_ssm_or_s3_reserves_is_refused(
        self, root: Path, prefix: str, reserved: str
    ) -> None:
        with pytest.raises(RefusedError, match=f"begins with {reserved}, which AWS reserves"):
            Settings.load(account=ACCOUNT, prefix=prefix, root=root)

    @pytest.mark.parametrize(
        "prefix", ["abc", "sign-watch", "a1-b2", "a" * 20, "my-aws", "as3", "amzn-watch"]
    )
    def test_valid_prefix_is_accepted(self, root: Path, prefix: str) -> None:
        assert Settings.load(account=ACCOUNT, prefix=prefix, root=root).prefix == prefix

    @pytest.mark.parametrize("region", ["eu-west-1", "us-gov-west-1", "ap-southeast-4"])
    def test_region_of_every_partition_is_accepted(self, root: Path, region: str) -> None:
        assert Settings.load(account=ACCOUNT, region=region, root=root).region == region
