"""A trail of the account: whether it records every sign-in, and what a deploy does about it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.aws import ACCOUNT, REGION, CloudTrail, account
from tests.support.deployment import CONTRACT, stack_in
from tooling.deploy import trails
from tooling.errors import PlanShownError, RefusedError

if TYPE_CHECKING:
    from tests.support.deployment import FakeDeployment

OWN = "signwatch-trail"
ALL = {"EventSelectors": [{"ReadWriteType": "All", "IncludeManagementEvents": True}]}
LOG_GROUP = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:audit:*"


def advanced(*fields: dict[str, Any]) -> dict[str, Any]:
    """One advanced selector of management events for each dictionary: a field and its operator."""
    selectors = []
    for field in fields or ({},):
        conditions = {"eventCategory": {"Equals": ["Management"]}, **field}
        selectors.append([{"Field": key, **operator} for key, operator in conditions.items()])
    return {"AdvancedEventSelectors": [{"FieldSelectors": selector} for selector in selectors]}


READS, WRITES = {"readOnly": {"Equals": ["true"]}}, {"readOnly": {"Equals": ["false"]}}


@pytest.fixture
def cloudtrail() -> CloudTrail:
    return CloudTrail()


def list_one(cloudtrail: CloudTrail) -> trails.Trail:
    (trail,) = trails.list_trails(account(cloudtrail=cloudtrail))
    return trail


class TestSuitable:
    @pytest.mark.parametrize(
        "selectors",
        [
            ALL,
            {"EventSelectors": [{"ReadWriteType": "ReadOnly"}, {"ReadWriteType": "WriteOnly"}]},
            {"EventSelectors": [{}, {"IncludeManagementEvents": False}]},
            advanced(),
            advanced(READS, WRITES),
            advanced(
                {"eventSource": {"NotEquals": ["kms.amazonaws.com", "rdsdata.amazonaws.com"]}}
            ),
        ],
    )
    def test_trail_of_all_management_events_is(
        self, cloudtrail: CloudTrail, selectors: dict[str, Any]
    ) -> None:
        cloudtrail.add("audit", selectors)
        assert list_one(cloudtrail).faults == ()

    @pytest.mark.parametrize(
        "selectors",
        [
            {"EventSelectors": []},
            {"EventSelectors": [{"ReadWriteType": "WriteOnly"}]},
            {"EventSelectors": [{"ReadWriteType": "All", "IncludeManagementEvents": False}]},
            advanced(READS),
            advanced(WRITES),
            advanced({"eventSource": {"Equals": ["signin.amazonaws.com"]}}),
            advanced({"eventName": {"Equals": ["ConsoleLogin"]}}),
            advanced({"eventSource": {"NotEquals": ["kms.amazonaws.com", "sts.amazonaws.com"]}}),
            advanced({"eventSource": {"NotStartsWith": ["s"]}}),
            advanced({"eventCategory": {"Equals": ["Data"]}}),
        ],
    )
    def test_trail_that_leaves_out_some_is_not(
        self, cloudtrail: CloudTrail, selectors: dict[str, Any]
    ) -> None:
        cloudtrail.add("audit", selectors)
        assert list_one(cloudtrail).faults == ("does not record all management events",)

    def test_trail_of_one_region_and_a_stopped_one_are_not(self, cloudtrail: CloudTrail) -> None:
        cloudtrail.add("audit", ALL, is_logging=False, IsMultiRegionTrail=False)
        assert list_one(cloudtrail).faults == ("records one Region only", "is not logging")

    def test_organisations_trail_is_accepted_as_unknown(self, cloudtrail: CloudTrail) -> None:
        cloudtrail.add("audit", None, IsOrganizationTrail=True)
        trail = list_one(cloudtrail)
        assert (trail.is_suitable, trail.is_unknown) == (True, True)

    def test_own_trail_that_cannot_be_read_is_not(self, cloudtrail: CloudTrail) -> None:
        cloudtrail.add("audit", None)
        assert list_one(cloudtrail).faults == ("cannot be read (TrailNotFoundException)",)

    @pytest.mark.parametrize(
        ("call", "code"),
        [
            ("GetEventSelectors", "ThrottlingException"),
            ("GetTrailStatus", "AccessDeniedException"),
        ],
    )
    def test_organisations_trail_is_unknown_only_if_its_events_may_not_be_read(
        self, cloudtrail: CloudTrail, call: str, code: str
    ) -> None:
        cloudtrail.add("audit", None, IsOrganizationTrail=True)
        cloudtrail.codes[call] = code
        trail = list_one(cloudtrail)
        assert (trail.faults, trail.is_unknown) == ((f"cannot be read ({code})",), False)


class TestExisting:
    @pytest.fixture(autouse=True)
    def bootstrapped(self, deployment: FakeDeployment) -> None:
        """The bootstrap knows the log group."""
        deployment.contract = replace(deployment.contract, existing_log_group_name="audit")

    def deploy(self, deployment: FakeDeployment, **chosen: str) -> str:
        """Deploy with an existing trail; return what was announced."""
        deployment.choose(TrailMode="existing", **chosen)
        deployment.deploy()
        return deployment.listener.text()

    def test_deploy_relies_on_the_accounts_trail(self, deployment: FakeDeployment) -> None:
        deployment.cloudtrail.add("audit", ALL, CloudWatchLogsLogGroupArn=LOG_GROUP)
        text = self.deploy(deployment, TrailLogGroupName="audit")
        assert "second way" not in text
        assert "deletes" not in text
        assert deployment.cloudformation.requested_parameters()["TrailMode"] == "existing"
        assert deployment.listener.questions == ["Execute this change set on stack signwatch?"]

    def test_without_a_log_group_it_says_that_there_is_one_way(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.cloudtrail.add("audit", ALL, CloudWatchLogsLogGroupArn=LOG_GROUP)
        text = self.deploy(deployment)
        assert "there is no second way. To add it: --set TrailLogGroupName=audit" in text

    def test_log_group_elsewhere_cannot_be_the_second_way(self, deployment: FakeDeployment) -> None:
        elsewhere = LOG_GROUP.replace(REGION, "ap-east-1")
        deployment.cloudtrail.add("audit", ALL, CloudWatchLogsLogGroupArn=elsewhere)
        assert self.deploy(deployment).count("there is no second way.\n") == 1
        with pytest.raises(
            RefusedError, match="'audit' is the log group of no suitable"
        ) as refusal:
            self.deploy(deployment, TrailLogGroupName="audit")
        assert "no suitable trail has one here" in refusal.value.remedy

    def test_what_an_organisations_trail_records_is_said_to_be_unknown(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.cloudtrail.add("org", None, IsOrganizationTrail=True)
        assert "may not read which events org records" in self.deploy(deployment)

    def test_no_unknown_trail_is_passed_over(self, deployment: FakeDeployment) -> None:
        deployment.cloudtrail.add("org", None, IsOrganizationTrail=True)
        deployment.cloudtrail.add("own", ALL)  # neither has a log group here
        assert "may not read which events org records" in self.deploy(deployment)

    def test_log_group_that_the_trail_does_not_reach_is_refused(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.cloudtrail.add(
            "audit", ALL, log_group_error="AccessDenied", CloudWatchLogsLogGroupArn=LOG_GROUP
        )
        text = self.deploy(deployment)
        assert "there is no second way." in text
        assert "To add it" not in text
        with pytest.raises(RefusedError, match=r"no events from its trail \(AccessDenied\)"):
            self.deploy(deployment, TrailLogGroupName="audit")

    def test_log_group_that_the_bootstrap_does_not_know_is_refused(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.contract = CONTRACT
        deployment.cloudtrail.add("audit", ALL, CloudWatchLogsLogGroupArn=LOG_GROUP)
        with pytest.raises(RefusedError, match="may not filter and read yet") as refusal:
            self.deploy(deployment, TrailLogGroupName="audit")
        assert refusal.value.exit_code == 2
        assert 'trail_log_group_name = "audit" below [bootstrap]' in refusal.value.remedy
        assert refusal.value.remedy.endswith("run: ./inv bootstrap")
        assert deployment.cloudformation.calls == []

    def test_log_group_of_the_live_stack_is_left_before_another_is_taken(
        self, deployment: FakeDeployment
    ) -> None:
        """Its filter is deleted with the same rights."""
        deployment.cloudtrail.add("audit", ALL, CloudWatchLogsLogGroupArn=LOG_GROUP)
        self.deploy(deployment, TrailLogGroupName="audit")
        with pytest.raises(RefusedError, match="cannot change from 'audit'") as refusal:
            self.deploy(deployment, TrailLogGroupName="other")
        assert "deploy --set TrailLogGroupName= and" in refusal.value.remedy
        deployment.contract = replace(deployment.contract, existing_log_group_name="other")
        with pytest.raises(RefusedError, match="'audit' is a log group that the bootstrap's"):
            self.deploy(deployment, TrailLogGroupName="")

    @pytest.mark.parametrize("others", [1, 2])
    def test_log_group_has_room_for_a_filter(self, deployment: FakeDeployment, others: int) -> None:
        function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function"
        filters = {f"other-{number}": f"{function}:other" for number in range(others)}
        deployment.logs.filters = {**filters, "ours": f"{function}:signwatch-function"}
        deployment.cloudtrail.add("audit", ALL, CloudWatchLogsLogGroupArn=LOG_GROUP)
        if others == 1:
            self.deploy(deployment, TrailLogGroupName="audit")
            return
        with pytest.raises(RefusedError, match="'audit' has 2 subscription filters") as refusal:
            self.deploy(deployment, TrailLogGroupName="audit")
        assert "delete one (other-0 or other-1)" in refusal.value.remedy
        assert deployment.cloudformation.calls == []

    def test_filters_that_cannot_be_read_do_not_stop_a_deploy(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.logs.is_denied = True
        deployment.cloudtrail.add("audit", ALL, CloudWatchLogsLogGroupArn=LOG_GROUP)
        text = self.deploy(deployment, TrailLogGroupName="audit")
        assert "filters of audit cannot be read (AccessDeniedException)" in text

    def test_trail_that_has_stopped_is_noticed_by_an_unchanged_deploy(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.cloudtrail.add("audit", ALL)
        self.deploy(deployment)
        assert "Nothing changed" in self.deploy(deployment)
        deployment.cloudtrail.add("audit", ALL, is_logging=False)
        with pytest.raises(RefusedError, match="audit is not logging"):
            self.deploy(deployment)

    def test_log_group_that_a_change_deletes_is_named_before_the_question(
        self, deployed: FakeDeployment
    ) -> None:
        deployed.cloudtrail.add("audit", ALL)

        def stop() -> None:
            raise PlanShownError

        deployed.listener.answer = stop
        with pytest.raises(PlanShownError):
            self.deploy(deployed)
        assert "deletes the log group /aws/cloudtrail/signwatch" in deployed.listener.text()

    def test_deploy_is_refused_before_any_write_if_no_trail_is_suitable(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.cloudtrail.add(OWN, ALL)  # it would go with this deploy
        deployment.cloudtrail.add("audit", ALL, is_logging=False)
        with pytest.raises(RefusedError, match="every sign-in: audit is not logging") as refusal:
            self.deploy(deployment)
        assert "TrailMode=create" in refusal.value.remedy
        assert deployment.cloudformation.calls == []
        assert deployment.s3.uploads == []

    def test_right_that_an_older_bootstrap_lacks_is_named(self, deployment: FakeDeployment) -> None:
        deployment.cloudtrail.is_denied = True
        with pytest.raises(RefusedError, match=r"cannot be read \(AccessDenied\)") as refusal:
            self.deploy(deployment)
        assert "bootstrap" in refusal.value.remedy


class TestCreate:
    def test_second_copy_of_the_events_is_asked_about(self, deployment: FakeDeployment) -> None:
        deployment.cloudtrail.add("audit", ALL)
        deployment.deploy()
        (question,) = deployment.listener.questions
        assert "and pay for a second copy of all events?" in question
        assert "records the sign-ins already: audit. AWS charges" in deployment.listener.text()

    def test_it_is_asked_about_after_a_failed_first_deploy_too(
        self, deployment: FakeDeployment
    ) -> None:
        parameters = [{"ParameterKey": "TrailMode", "ParameterValue": "create"}]
        failed = {**stack_in("ROLLBACK_COMPLETE"), "Parameters": parameters}
        deployment.cloudformation.stack = failed
        deployment.cloudtrail.add("audit", ALL)
        deployment.deploy()
        assert "and pay for a second copy of all events?" in deployment.listener.questions[-1]

    @pytest.mark.parametrize("name", ["audit", OWN])
    def test_other_deploys_only_ask_whether_to_execute(
        self, deployment: FakeDeployment, name: str
    ) -> None:
        """Without a suitable trail, and once the stack has its own."""
        deployment.cloudtrail.add(name, ALL if name == OWN else {"EventSelectors": []})
        deployment.deploy()
        assert deployment.listener.questions == ["Execute this change set on stack signwatch?"]

    def test_deployed_stack_is_not_asked_again(self, deployed: FakeDeployment) -> None:
        deployed.cloudtrail.add("audit", ALL)
        deployed.choose(AccountLabel="shop")
        deployed.deploy()
        assert deployed.listener.questions == ["Execute this change set on stack signwatch?"]

    def test_plan_says_it_too(self, deployment: FakeDeployment) -> None:
        deployment.cloudtrail.add("audit", ALL)

        def stop() -> None:
            raise PlanShownError

        deployment.listener.answer = stop
        with pytest.raises(PlanShownError):
            deployment.deploy()
        assert "records the sign-ins already: audit" in deployment.listener.text()

    def test_trails_that_cannot_be_listed_do_not_stop_a_deploy(
        self, deployment: FakeDeployment
    ) -> None:
        deployment.cloudtrail.is_denied = True
        deployment.deploy()
        assert "there may be a suitable one already" in deployment.listener.text()

    def test_log_group_of_another_trail_is_refused(self, deployment: FakeDeployment) -> None:
        deployment.choose(TrailLogGroupName="audit")
        with pytest.raises(RefusedError, match="only with TrailMode=existing"):
            deployment.deploy()
