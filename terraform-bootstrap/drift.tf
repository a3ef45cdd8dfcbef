# CloudFormation compares as whoever asks it to (user guide, "Detect unmanaged configuration changes"), so ./inv drift
# needs to read what the stacks made, and nothing of what is in it.
data "aws_iam_policy_document" "drift" {
  statement {
    sid       = "ReadTheTrail"
    actions   = ["cloudtrail:GetEventConfiguration", "cloudtrail:GetEventSelectors", "cloudtrail:GetInsightSelectors", "cloudtrail:GetTrail", "cloudtrail:GetTrailStatus", "cloudtrail:ListTags"]
    resources = ["arn:${local.partition}:cloudtrail:${local.here}:trail/${var.prefix}-trail"]
  }
  statement {
    sid = "ReadItsBucket"
    actions = [
      "s3:GetAccelerateConfiguration", "s3:GetAnalyticsConfiguration", "s3:GetBucketAbac", "s3:GetBucketCORS", "s3:GetBucketLogging",
      "s3:GetBucketMetadataTableConfiguration", "s3:GetBucketNotification", "s3:GetBucketObjectLockConfiguration", "s3:GetBucketOwnershipControls",
      "s3:GetBucketPolicy", "s3:GetBucketPublicAccessBlock", "s3:GetBucketTagging", "s3:GetBucketVersioning", "s3:GetBucketWebsite",
      "s3:GetEncryptionConfiguration", "s3:GetIntelligentTieringConfiguration", "s3:GetInventoryConfiguration", "s3:GetLifecycleConfiguration",
      "s3:GetMetricsConfiguration", "s3:GetReplicationConfiguration", "s3:ListBucket", "s3:ListTagsForResource",
    ]
    resources = ["arn:${local.partition}:s3:::${var.prefix}-*-trailbucket-*"]
  }
  statement {
    sid       = "ReadTheFunction"
    actions   = ["lambda:GetFunction", "lambda:GetFunctionCodeSigningConfig", "lambda:GetFunctionEventInvokeConfig", "lambda:GetFunctionRecursionConfig", "lambda:GetFunctionScalingConfig", "lambda:GetPolicy", "lambda:GetRuntimeManagementConfig"]
    resources = ["arn:${local.partition}:lambda:${local.here}:function:${var.prefix}-*"]
  }
  statement {
    sid       = "ReadTheMapping"
    actions   = ["lambda:GetEventSourceMapping", "lambda:ListTags"]
    resources = [local.mapping_arn]
  }
  statement {
    sid       = "ReadTheLayer"
    actions   = ["lambda:GetLayerVersion"]
    resources = ["arn:${local.partition}:lambda:${local.here}:layer:${var.prefix}-*:*"]
  }
  statement {
    sid       = "ReadTheRules"
    actions   = ["events:DescribeRule", "events:ListTagsForResource", "events:ListTargetsByRule"]
    resources = ["arn:${local.partition}:events:${local.here}:rule/${var.prefix}-*", "arn:${local.partition}:events:${local.here}:rule/*/${var.prefix}-*"]
  }
  statement {
    sid       = "ReadTheTopic"
    actions   = ["sns:GetDataProtectionPolicy", "sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic", "sns:ListTagsForResource"]
    resources = ["arn:${local.partition}:sns:${local.here}:${var.prefix}-*"]
  }
  statement {
    sid       = "ReadTheQueues"
    actions   = ["sqs:GetQueueAttributes", "sqs:ListQueueTags"]
    resources = ["arn:${local.partition}:sqs:${local.here}:${var.prefix}-*"]
  }
  statement {
    sid       = "ReadTheLedger"
    actions   = ["dynamodb:DescribeContinuousBackups", "dynamodb:DescribeContributorInsights", "dynamodb:DescribeKinesisStreamingDestination", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:GetResourcePolicy", "dynamodb:ListTagsOfResource"]
    resources = ["arn:${local.partition}:dynamodb:${local.here}:table/${var.prefix}-*"]
  }
  statement {
    sid       = "ReadTheKeys"
    actions   = ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags"]
    resources = ["arn:${local.partition}:kms:${local.here}:key/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signwatch:prefix"
      values   = [var.prefix]
    }
  }
  statement {
    sid       = "ReadTheRoles"
    actions   = ["iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"]
    resources = local.role_arns
  }
  statement {
    sid       = "ReadTheSecretsForm" # and never its value
    actions   = ["secretsmanager:DescribeSecret"]
    resources = ["arn:${local.partition}:secretsmanager:${local.here}:secret:TwilioSecret-*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signwatch:prefix"
      values   = [var.prefix]
    }
  }
  statement {
    sid       = "ReadTheLogGroups"
    actions   = ["logs:DescribeIndexPolicies", "logs:GetDataProtectionPolicy"]
    resources = [for arn in local.log_group_arns : "${arn}:*"]
  }
  statement {
    sid       = "ReadTheirTags" # this call alone wants the ARN without its end
    actions   = ["logs:ListTagsForResource"]
    resources = local.log_group_arns
  }
  statement {
    sid       = "SeeAlarms" # asked of all alarms at once
    actions   = ["cloudwatch:DescribeAlarms"]
    resources = ["arn:${local.partition}:cloudwatch:${local.here}:alarm:*"]
  }
  statement {
    sid       = "ReadTheTagsOfAlarms"
    actions   = ["cloudwatch:ListTagsForResource"]
    resources = ["arn:${local.partition}:cloudwatch:${local.here}:alarm:${var.prefix}-*"]
  }
  statement {
    sid       = "ReadWhatKnowsNoResource" # Service Authorization Reference
    actions   = ["cloudtrail:DescribeTrails", "kms:ListAliases", "logs:DescribeLogGroups", "logs:DescribeResourcePolicies", "sns:GetSubscriptionAttributes"]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "drift" {
  name   = "drift"
  role   = aws_iam_role.deploy.id
  policy = data.aws_iam_policy_document.drift.json
}
