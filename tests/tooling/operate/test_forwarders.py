"""``forwarders``: which Regions get one, and how they are made, changed and deleted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ReadTimeoutError

from tests.support.aws import ACCOUNT, CALLER, REGION, STACK_ID, CloudFormation, client_error, event
from tests.support.deployment import FOREIGN_TAGS, OWN_TAGS, stack_in
from tests.support.refusals import refusal_of
from tests.support.repository import ROOT
from tooling.deploy import stack_events
from tooling.deploy.account import Account
from tooling.deploy.stack import InterruptedWatchError, LiveStack
from tooling.errors import FailedError, UnknownStateError
from tooling.operate import forwarders
from tooling.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE_ROLE = f"arn:aws:iam::{ACCOUNT}:role/signwatch-service"
SETTINGS = Settings(account=ACCOUNT, region=REGION, prefix="signwatch", root=ROOT)
CONTENT = forwarders.make_content(SETTINGS, SERVICE_ROLE, None)
OTHERS = ("ap-southeast-2", "eu-north-1", "us-east-1", "us-east-2")
RULE = {"LogicalResourceId": "ForwarderRule", "ResourceType": "AWS::Events::Rule", "Action": "Add"}
SCP = "is not authorized with an explicit deny in a service control policy"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_events, "MIN_PAUSE_SECONDS", 0.0)


def region_without_stack(**fields: Any) -> CloudFormation:
    return CloudFormation(changes=[RULE], **fields)


class Denied(CloudFormation):
    """A Region that the organisation denies."""

    def create_change_set(self, **_: Any) -> dict[str, Any]:
        raise client_error("AccessDenied", SCP)

    def delete_stack(self, **_: Any) -> None:
        raise client_error("AccessDenied", SCP)


def current_stack() -> dict[str, Any]:
    tags = [{"Key": key, "Value": value} for key, value in CONTENT.tags.items()]
    return stack_in("CREATE_COMPLETE", tags)


@dataclass
class Cloud:
    """Regions with CloudFormation, Identity Center in one of them, and EC2 to list them."""

    regions: Mapping[str, Any] = field(default_factory=dict)
    centers: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()  # Regions in which Identity Center may not be asked
    lists_regions: bool = True

    def client(self, service: str, region_name: str = "", **_: Any) -> Any:
        if service == "cloudformation":
            return self.regions[region_name]
        return _Ec2(self) if service == "ec2" else _SsoAdmin(self, region_name)

    def get_available_regions(self, _service: str) -> list[str]:
        return [*self.regions, REGION]

    def open(self) -> Account:
        return Account(self, ACCOUNT, REGION, CALLER)


@dataclass
class _Ec2:
    cloud: Cloud

    def describe_regions(self) -> dict[str, Any]:
        if not self.cloud.lists_regions:
            raise client_error("UnauthorizedOperation")
        names = [REGION, *self.cloud.regions]
        return {"Regions": [{"RegionName": name} for name in names]}


@dataclass
class _SsoAdmin:
    cloud: Cloud
    region: str

    def list_instances(self) -> dict[str, Any]:
        if self.region in self.cloud.silent:
            raise client_error("AccessDeniedException")
        return {"Instances": [{}] if self.region in self.cloud.centers else []}


def survey(cloud: Cloud, choice: str = "") -> forwarders.Survey:
    settings, asks = replace(SETTINGS, regions=choice), not choice
    aws, ignore = cloud.open(), lambda _: None
    return forwarders.survey(aws, settings, ignore, asks_identity_center=asks)


def plan(cloud: Cloud, choice: str = "", *, has_trail_way: bool = True) -> forwarders.Plan:
    settings, found = replace(SETTINGS, regions=choice), survey(cloud, choice)
    return forwarders.make_plan(settings, found, CONTENT, has_trail_way=has_trail_way)


def apply(
    cloud: Cloud, choice: str = "", *, has_trail_way: bool = True
) -> tuple[list[str], forwarders.Report]:
    """Return the lines of the Regions and the report."""
    lines: list[str] = []
    planned = plan(cloud, choice, has_trail_way=has_trail_way)
    report = forwarders.apply(cloud.open(), planned, CONTENT, lines.append)
    return [" ".join(line.split()[:-2]) for line in lines if line.startswith("  ")], report


class TestPlan:
    def test_default_is_where_sign_ins_are_recorded_and_identity_center_without_the_home(
        self,
    ) -> None:
        regions = {name: region_without_stack() for name in (*OTHERS, "ca-central-1", "sa-east-1")}
        centers = ("ca-central-1", "sa-east-1")  # of the organisation, and of the account alone
        found = survey(Cloud(regions, centers))
        assert found.identity_centers == centers
        actions = plan(Cloud(regions, centers)).actions
        assert actions == dict.fromkeys((*OTHERS, *centers), "create")
        home = replace(SETTINGS, region="us-east-1")
        found = forwarders.Survey(dict.fromkeys(OTHERS), identity_centers=("us-east-1",))
        assert "us-east-1" not in forwarders.make_plan(home, found, CONTENT).actions

    def test_forwarder_elsewhere_stays_unless_the_regions_are_chosen(self) -> None:
        regions = {name: region_without_stack() for name in OTHERS}
        regions["sa-east-1"] = CloudFormation(current_stack())
        assert plan(Cloud(regions)).actions["sa-east-1"] == "keep"
        assert plan(Cloud(regions), "us-east-1").actions == {
            "us-east-1": "create",
            "sa-east-1": "delete",
        }
        assert plan(Cloud(regions), "home").actions == {"sa-east-1": "delete"}
        assert set(plan(Cloud(regions), "all").actions) == set(regions)

    def test_forwarder_of_other_content_is_updated(self) -> None:
        regions = {name: CloudFormation(current_stack()) for name in OTHERS}
        regions["us-east-2"] = CloudFormation(stack_in("CREATE_COMPLETE"))
        assert plan(Cloud(regions)).changes == {"us-east-2": "update"}

    def test_forwarder_that_was_rolled_back_is_updated_and_shown(self) -> None:
        regions = {name: CloudFormation(current_stack()) for name in OTHERS}
        rolled_back = current_stack() | {"StackStatus": "UPDATE_ROLLBACK_COMPLETE"}
        regions["us-east-2"] = CloudFormation(rolled_back)
        assert plan(Cloud(regions)).changes == {"us-east-2": "update"}
        assert "us-east-2 (UPDATE_ROLLBACK_COMPLETE)" in survey(Cloud(regions)).format_regions()

    def test_outputs_show_the_regions_and_what_does_not_work(self) -> None:
        regions = {name: region_without_stack() for name in OTHERS}
        assert survey(Cloud(regions)).format_regions() == "none"
        regions["us-east-1"] = CloudFormation(current_stack())
        regions["us-east-2"] = CloudFormation(stack_in("ROLLBACK_COMPLETE"))
        formatted = survey(Cloud(regions)).format_regions()
        assert formatted == "us-east-1, us-east-2 (ROLLBACK_COMPLETE)"

    def test_content_follows_the_bus_of_the_settings_and_else_of_the_live_stack(self) -> None:
        assert CONTENT.parameters == {
            "NamePrefix": "signwatch",
            "EventBusArn": f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default",
            "ForwarderRoleArn": f"arn:aws:iam::{ACCOUNT}:role/signwatch-forwarder",
        }
        own = replace(SETTINGS, parameters={"EventBusName": "own"})
        content = forwarders.make_content(own, SERVICE_ROLE, None)
        assert content.parameters["EventBusArn"].endswith(":event-bus/own")
        assert content.digest != CONTENT.digest
        china = replace(SETTINGS, region="cn-north-1")
        arn = forwarders.make_content(china, SERVICE_ROLE, None).parameters["EventBusArn"]
        assert arn.startswith("arn:aws-cn:events:cn-north-1:")

    @pytest.mark.parametrize(
        ("silent", "said"), [((), []), (OTHERS[:1], [OTHERS[0]]), (OTHERS[:2], ["2 Regions"])]
    )
    def test_only_an_identity_center_that_gave_no_answer_is_said(
        self, silent: tuple[str, ...], said: list[str]
    ) -> None:
        regions = {name: region_without_stack() for name in OTHERS}
        lines = plan(Cloud(regions, silent=silent)).format_lines(REGION)
        assert lines[0] == f"Forwarders to {REGION}:"
        assert [line.split() for line in lines[1:5]] == [[name, "create"] for name in OTHERS]
        assert lines[5:] == [
            f"  Identity Center could not be asked in {where}; --regions can name its Region."
            for where in said
        ]

    def test_regions_without_a_forwarder_are_said_if_the_trail_is_no_way(self) -> None:
        regions = {name: region_without_stack() for name in OTHERS}
        regions["us-east-1"] = CloudFormation(current_stack())
        cloud = Cloud(regions)
        lines = plan(cloud, "home", has_trail_way=False).format_lines(REGION)
        assert lines[1].split() == ["us-east-1", "delete"]
        assert lines[2].startswith(f"  NO WAY from {', '.join(OTHERS)}: ")
        text = "\n".join(plan(cloud, "us-east-1", has_trail_way=False).format_lines(REGION))
        assert "NO WAY from ap-southeast-2, eu-north-1, us-east-2: " in text
        for choice, has_trail_way in (("all", False), ("home", True)):
            text = "\n".join(plan(cloud, choice, has_trail_way=has_trail_way).format_lines(REGION))
            assert "NO WAY" not in text

    @pytest.mark.parametrize(
        ("live", "chosen", "has_way"),
        [
            ({}, {}, True),
            ({}, {"TrailLogGroupMode": "none"}, False),
            ({"TrailLogGroupMode": "none"}, {}, False),
            ({"TrailLogGroupMode": "none"}, {"TrailLogGroupMode": "create"}, True),
            ({}, {"TrailMode": "existing"}, False),
            ({"TrailMode": "existing"}, {"TrailLogGroupName": "logs"}, True),
        ],
    )
    def test_trail_is_a_way_if_its_log_group_is_read_after_this_deploy(
        self, live: dict[str, str], chosen: dict[str, str], has_way: bool
    ) -> None:
        settings = replace(SETTINGS, parameters=chosen)
        main = LiveStack(STACK_ID, "CREATE_COMPLETE", live, {}, {}) if live else None
        assert forwarders.has_trail_way(settings, main) == has_way

    def test_bus_that_changes_below_an_organisation_is_said(self) -> None:
        live = {"EventBusName": "default", "OrganizationId": "o-a1b2c3d4e5"}
        main = LiveStack(STACK_ID, "CREATE_COMPLETE", live, {}, {})
        own = replace(SETTINGS, parameters={"EventBusName": "own"})
        lines = forwarders.list_bus_warnings(own, main)
        assert lines[0].startswith("The bus changes from default to own: no alert comes from")
        assert forwarders.list_bus_warnings(SETTINGS, main) == []
        assert forwarders.list_bus_warnings(own, None) == []
        alone = replace(main, parameters={"EventBusName": "default"})
        assert forwarders.list_bus_warnings(own, alone) == []

    def test_regions_of_sign_ins_are_asked_if_the_account_may_not_list_its_own(self) -> None:
        regions = {name: region_without_stack() for name in OTHERS}
        assert set(plan(Cloud(regions, lists_regions=False)).actions) == set(OTHERS)


class TestRemoval:
    def test_forwarders_are_named_first_and_deleted_when_asked(self) -> None:
        regions = {name: region_without_stack() for name in OTHERS}
        regions["eu-north-1"] = CloudFormation(current_stack())
        lines: list[str] = []
        removal = forwarders.prepare_removal(Cloud(regions).open(), SETTINGS, lines.append)
        assert lines[-1] == f"Forwarders to {REGION}: eu-north-1"
        assert removal.regions == ("eu-north-1",)
        assert regions["eu-north-1"].call_names() == []
        removal.delete()
        assert regions["eu-north-1"].call_names() == ["delete_stack"]

    def test_forwarder_that_is_left_stops_the_task(self) -> None:
        cloud = Cloud({"us-east-1": Denied(stack=current_stack())})
        removal = forwarders.prepare_removal(cloud.open(), SETTINGS, lambda _: None)
        with pytest.raises(FailedError, match=SCP):
            removal.delete()


class TestApply:
    def test_regions_are_made_with_the_template_in_the_request(self) -> None:
        regions = {name: region_without_stack() for name in OTHERS}
        lines, report = apply(Cloud(regions))
        assert sorted(lines) == [f"{name} created" for name in OTHERS]
        report.refuse_failures()
        for cloudformation in regions.values():
            request = cloudformation.request("create_change_set")
            assert request["TemplateBody"] == (ROOT / "cfn" / "forwarder.yaml").read_text()
            assert "TemplateURL" not in request
            assert request["RoleARN"] == SERVICE_ROLE
            assert cloudformation.requested_parameters() == CONTENT.parameters
        assert apply(Cloud(regions)) == ([], forwarders.Report({}))

    def test_region_that_fails_is_named_last_and_does_not_stop_the_others(self) -> None:
        regions = {name: region_without_stack() for name in OTHERS}
        cause = event(1, "CREATE_FAILED", "ForwarderRule", ResourceStatusReason="no such bus")
        regions["eu-north-1"] = region_without_stack(
            end_status="ROLLBACK_COMPLETE", new_events=[cause]
        )
        lines, report = apply(Cloud(regions))
        assert sorted(line.split()[1] for line in lines) == ["created"] * 3 + ["failed"]
        with pytest.raises(FailedError, match=r"failed in 1 Regions.*eu-north-1: .*no such bus"):
            report.refuse_failures()
        assert FailedError.exit_code == 1

    def test_events_are_asked_for_only_after_a_failure(self) -> None:
        """Each request of a Region costs the time of the others too."""

        class Counting(CloudFormation):
            def get_paginator(self, name: str) -> Any:
                asked.append(name)
                return super().get_paginator(name)

        asked: list[str] = []
        apply(Cloud({"us-east-1": Counting(changes=[RULE])}), "us-east-1")
        assert asked == ["describe_change_set"]
        cause = event(1, "CREATE_FAILED", "ForwarderRule", ResourceStatusReason="no such bus")
        failing = Counting(changes=[RULE], end_status="ROLLBACK_COMPLETE", new_events=[cause])
        _, report = apply(Cloud({"us-east-1": failing}), "us-east-1")
        assert "no such bus" in report.failures["us-east-1"].what

    def test_cause_of_an_earlier_failure_is_not_told_again(self) -> None:
        old = event(1, "UPDATE_FAILED", "ForwarderRule", ResourceStatusReason="an old cause")
        new = event(2, "UPDATE_FAILED", "ForwarderRule", ResourceStatusReason="a new cause")
        region = CloudFormation(
            stack_in("UPDATE_ROLLBACK_COMPLETE"),
            changes=[RULE],
            events=[old],
            end_status="UPDATE_ROLLBACK_COMPLETE",
            new_events=[new],
        )
        _, report = apply(Cloud({"us-east-1": region}), "us-east-1")
        assert "a new cause" in report.failures["us-east-1"].what

    def test_husk_of_a_failed_run_is_deleted_and_the_region_done_again(self) -> None:
        husk = region_without_stack(stack=stack_in("ROLLBACK_COMPLETE"))
        lines, report = apply(Cloud({"us-east-1": husk}), "us-east-1")
        assert (lines, report.failures) == (["us-east-1 created"], {})
        assert husk.call_names() == ["delete_stack", "create_change_set", "execute_change_set"]

    def test_change_set_that_a_killed_run_left_is_no_obstacle(self) -> None:
        left = region_without_stack(stack=stack_in("REVIEW_IN_PROGRESS", []))
        lines, _ = apply(Cloud({"us-east-1": left}), "us-east-1")
        assert lines == ["us-east-1 created"]
        assert left.request("create_change_set")["ChangeSetType"] == "CREATE"

    def test_operation_that_a_killed_run_left_is_waited_for(self) -> None:
        class Busy(CloudFormation):
            def describe_stacks(self, **request: Any) -> dict[str, Any]:
                answer = super().describe_stacks(**request)
                self.stack = current_stack()
                return answer

        busy = Busy(stack_in("CREATE_IN_PROGRESS"))
        _, report = apply(Cloud({"us-east-1": busy}), "us-east-1")
        assert report.failures == {}
        assert busy.call_names() == []

    def test_denial_by_the_organisation_is_no_failure_if_the_trail_is_a_way(self) -> None:
        lines, report = apply(Cloud({"us-east-1": Denied()}), "us-east-1")
        assert lines == ["us-east-1 covered by the trail, some minutes later"]
        report.refuse_failures()
        lines, report = apply(Cloud({"us-east-1": Denied()}), "us-east-1", has_trail_way=False)
        assert lines == ["us-east-1 no way from this Region"]
        with pytest.raises(FailedError, match=f"us-east-1: no way from this Region: .*{SCP}"):
            report.refuse_failures()

    def test_denied_deletion_is_a_failure_in_any_case(self) -> None:
        cloud = Cloud({"us-east-1": Denied(stack=current_stack())})
        lines, report = apply(cloud, "home")
        assert lines == ["us-east-1 failed"]
        with pytest.raises(FailedError, match=SCP):
            report.refuse_failures()

    def test_unknown_state_of_one_region_decides_the_exit_code(self) -> None:
        class Silent(CloudFormation):
            def execute_change_set(self, **_: Any) -> None:
                raise ReadTimeoutError(endpoint_url="https://cloudformation")

        class Lost(CloudFormation):
            def execute_change_set(self, **request: Any) -> None:
                super().execute_change_set(**request)
                self.describe_stacks = self.refuse  # type: ignore[method-assign]

            def refuse(self, **_: Any) -> dict[str, Any]:
                raise client_error("ExpiredToken")

        for region in (Silent(changes=[RULE]), Lost(changes=[RULE])):
            cloud = Cloud({"us-east-1": Denied(), "us-east-2": region})
            choice = "us-east-1,us-east-2"
            lines, report = apply(cloud, choice, has_trail_way=False)
            assert sorted(lines) == ["us-east-1 no way from this Region", "us-east-2 state unknown"]
            with pytest.raises(UnknownStateError, match=r"us-east-1: .*us-east-2: ") as error:
                report.refuse_failures()
            assert error.value.exit_code == 3

    @pytest.mark.parametrize(
        ("message", "has_trail_way", "said", "failures"),
        [
            (SCP, True, "covered by the trail", 0),
            (SCP, False, "no way from this Region", 1),
            ("no such right", True, "no such right", 1),
        ],
    )
    def test_region_that_may_not_be_read_is_said_in_the_plan_and_at_the_end(
        self, message: str, has_trail_way: bool, said: str, failures: int
    ) -> None:
        class Closed(CloudFormation):
            def describe_stacks(self, **_: Any) -> dict[str, Any]:
                raise client_error("AccessDenied", message)

        cloud = Cloud({"us-east-1": Closed()})
        planned = plan(cloud, "us-east-1", has_trail_way=has_trail_way)
        line = planned.format_lines(REGION)[1]
        assert "cannot be read: " in line
        assert said in line
        _, report = apply(cloud, "us-east-1", has_trail_way=has_trail_way)
        assert len(report.failures) == failures
        removal = survey(cloud, "home")
        assert removal.format_problems() == ["  AWS does not let us look into us-east-1."]
        assert forwarders.plan_removal(removal).actions == {}

    def test_stack_of_another_tool_is_left_alone(self) -> None:
        foreign = CloudFormation(stack_in("CREATE_COMPLETE", FOREIGN_TAGS), changes=[RULE])
        _, report = apply(Cloud({"us-east-1": foreign}), "us-east-1")
        assert "was not made by this tool" in report.failures["us-east-1"].what
        assert foreign.call_names() == []

    def test_role_that_the_region_does_not_know_yet_is_tried_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Slow(CloudFormation):
            tries = 0

            def execute_change_set(self, **_: Any) -> None:
                self.tries += 1
                self.stack = stack_in("ROLLBACK_COMPLETE" if self.tries < 3 else "CREATE_COMPLETE")
                role = CONTENT.parameters["ForwarderRoleArn"]
                reason = f"Provided role '{role}' cannot be assumed"
                number, status = self.tries, "CREATE_FAILED"
                self.events.append(
                    event(number, status, "ForwarderRule", ResourceStatusReason=reason)
                )

        monkeypatch.setattr(forwarders, "RETRY_PAUSE_SECONDS", 0.0)
        slow = Slow(changes=[RULE])
        lines, report = apply(Cloud({"us-east-1": slow}), "us-east-1")
        assert (lines, report.failures, slow.tries) == (["us-east-1 created"], {}, 3)

    def test_removal_deletes_every_forwarder(self) -> None:
        regions = {name: region_without_stack() for name in OTHERS}
        regions["eu-north-1"] = CloudFormation(stack_in("UPDATE_ROLLBACK_FAILED", OWN_TAGS))
        cloud = Cloud(regions)
        removal = forwarders.plan_removal(survey(cloud, "home"))
        assert removal.actions == {"eu-north-1": "delete"}
        forwarders.apply(cloud.open(), removal, CONTENT, lambda _: None).refuse_failures()
        assert regions["eu-north-1"].request("delete_stack") == {"StackName": STACK_ID}

    def test_ctrl_c_says_that_cloudformation_goes_on(self) -> None:
        def interrupt(line: str) -> None:
            if line.startswith("  "):
                raise KeyboardInterrupt

        cloud = Cloud({"us-east-1": region_without_stack()})
        with pytest.raises(InterruptedWatchError, match="goes on where this one stopped"):
            forwarders.apply(cloud.open(), plan(cloud, "us-east-1"), CONTENT, interrupt)


@pytest.mark.parametrize("choice", ["everywhere", "us-east-1,", "us-east-1 us-east-2", "all,home"])
def test_choice_of_another_form_is_refused(choice: str, tmp_path: Any) -> None:
    message = refusal_of(lambda: Settings.load(account=ACCOUNT, regions=choice, root=tmp_path))
    assert "write it like us-east-1,us-east-2" in message
