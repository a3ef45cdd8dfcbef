"""Policies on the trail, its bucket and what lets it write there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor_policy import Policy, allows, conditions, covers, each, fits

if TYPE_CHECKING:
    from monitor_site import Resource, Site

TRAIL = "AWS::CloudTrail::Trail"
SERVICE = "cloudtrail.amazonaws.com"
SHORTEST_DAYS = 90
OLD_KEY = "NoncurrentVersionExpirationInDays"


class TrailLogs(Policy):
    """The trail is switched on."""

    number, kinds = 1, (TRAIL,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return resource.properties.get("IsLogging") is True


class TrailSeesAllRegions(Policy):
    """The trail records all Regions."""

    number, kinds = 2, (TRAIL,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return resource.properties.get("IsMultiRegionTrail") is True


class TrailSeesGlobalServices(Policy):
    """The trail records the events of global services, sign-ins among them."""

    number, kinds = 3, (TRAIL,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return resource.properties.get("IncludeGlobalServiceEvents") is True


class TrailValidatesFiles(Policy):
    """The trail signs its files, so that a changed record is noticed."""

    number, kinds = 4, (TRAIL,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return resource.properties.get("EnableLogFileValidation") is True


class TrailSeesManagementEvents(Policy):
    """The trail records management events, both reading and writing."""

    number, kinds = 5, (TRAIL,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        selectors = each(resource.properties.get("EventSelectors"))
        whole = [
            s
            for s in selectors
            if s.get("ReadWriteType", "All") == "All" and not s.get("ExcludeManagementEventSources")
        ]
        return any(selector.get("IncludeManagementEvents", True) is True for selector in whole)


class BucketKeepsRecords(Policy):
    """A bucket of records never expires them, and keeps old versions for 90 days or more."""

    number, kinds = 6, ("AWS::S3::Bucket",)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        rules = each(resource.properties.get("LifecycleConfiguration", {}).get("Rules"))
        expire = any({"ExpirationInDays", "ExpirationDate"} & set(rule) for rule in rules)
        old = [
            rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
            for rule in rules
            if "NoncurrentVersionExpiration" in rule
        ]
        # the older key for the same (S3 Bucket Rule)
        old += [rule[OLD_KEY] for rule in rules if OLD_KEY in rule]
        return not expire and all(days >= SHORTEST_DAYS for days in old)


class BucketOutlivesStack(Policy):
    """A bucket of records stays when the stack goes, or when it is replaced."""

    number, kinds = 7, ("AWS::S3::Bucket",)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        kept = ("Retain", "RetainExceptOnCreate")
        return (
            resource.body.get("DeletionPolicy") in kept
            and resource.body.get("UpdateReplacePolicy") == "Retain"
        )


class TrailMayWrite(Policy):
    """The bucket's policy lets this very trail read the ACL and write its records."""

    number, kinds = 8, (TRAIL,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        bucket = resource.properties["S3BucketName"]
        found = [
            p.properties
            for p in site.of("AWS::S3::BucketPolicy")
            if p.properties["Bucket"] == bucket
        ]
        grants = [
            statement for policy in found for statement in allows(policy["PolicyDocument"], SERVICE)
        ]
        trail = {"aws:SourceArn": resource.arn}
        records, writes = (
            f"{bucket}/AWSLogs/${{AWS::AccountId}}/*",
            {"s3:x-amz-acl": "bucket-owner-full-control"},
        )
        wanted = (
            ("s3:GetBucketAcl", bucket, trail),
            ("s3:PutObject", records, {**trail, **writes}),
        )
        return all(
            any(covers(g, action, on) and fits(g, sent) for g in grants)
            for action, on, sent in wanted
        )


class OnlyThisTrailWrites(Policy):
    """A bucket's policy names the trail that it lets in, so that no other account's trail writes there."""

    number, kinds = 9, ("AWS::S3::BucketPolicy",)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        grants = allows(resource.properties["PolicyDocument"], SERVICE)
        return all(conditions(grant, "aws:SourceArn") for grant in grants)


class TrailMayEncrypt(Policy):
    """The key's policy lets this very trail encrypt its records."""

    number, kinds = 10, (TRAIL,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        key = next(
            key for key in site.of("AWS::KMS::Key") if key.arn == resource.properties["KMSKeyId"]
        )
        grants = allows(key.properties["KeyPolicy"], SERVICE)
        sent = {
            "aws:SourceArn": resource.arn,
            "kms:EncryptionContext:aws:cloudtrail:arn": resource.arn,
        }
        fitting = [grant for grant in grants if fits(grant, sent)]
        return any(covers(grant, "kms:GenerateDataKey*", "*") for grant in fitting)


class TrailMayWriteLogs(Policy):
    """The trail's role may write to the trail's log group."""

    number, kinds = 11, (TRAIL,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        group, role = (
            resource.properties["CloudWatchLogsLogGroupArn"],
            resource.properties["CloudWatchLogsRoleArn"],
        )
        stream = (
            f"{group.removesuffix('*')}log-stream:${{AWS::AccountId}}_CloudTrail_${{AWS::Region}}"
        )
        policies = next(
            found for found in site.of("AWS::IAM::Role") if found.arn == role
        ).properties["Policies"]
        grants = [
            grant
            for policy in policies
            for grant in allows(policy["PolicyDocument"])
            if fits(grant, {})
        ]
        made = any(made.arn == group for made in site.of("AWS::Logs::LogGroup"))
        return made and any(covers(grant, "logs:PutLogEvents", stream) for grant in grants)


class TrailWaitsForPolicy(Policy):
    """The trail is made after the policy of its bucket, which CloudTrail reads when it makes the trail."""

    number, kinds = 13, (TRAIL,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        bucket = resource.properties["S3BucketName"]
        awaited = {
            found.name
            for found in site.of("AWS::S3::BucketPolicy")
            if found.properties["Bucket"] == bucket
        }
        return awaited <= set(each(resource.body.get("DependsOn")))


class TrailIsThere(Policy):
    """The installation has a trail."""

    number, kinds = 12, ("AWS::CloudFormation::Stack",)

    def _holds(self, _resource: Resource, site: Site, /) -> bool:
        return bool(site.of(TRAIL))


POLICIES = (
    TrailLogs(),
    TrailSeesAllRegions(),
    TrailSeesGlobalServices(),
    TrailValidatesFiles(),
    TrailSeesManagementEvents(),
    BucketKeepsRecords(),
    BucketOutlivesStack(),
    TrailMayWrite(),
    OnlyThisTrailWrites(),
    TrailMayEncrypt(),
    TrailMayWriteLogs(),
    TrailWaitsForPolicy(),
    TrailIsThere(),
)
