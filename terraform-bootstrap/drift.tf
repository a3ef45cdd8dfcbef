# CloudFormation detects drift with the rights of the caller (user guide, "Detect unmanaged configuration changes").
# ./inv drift may read the configuration of the stacks' resources, and none of their content.
data "aws_iam_policy_document" "drift" {
  statement {
    sid = "ReadTheTrail"
    actions = [
      "cloudtrail:GetEventConfiguration",
      "cloudtrail:GetEventSelectors",
      "cloudtrail:GetInsightSelectors",
      "cloudtrail:GetTrail",
      "cloudtrail:GetTrailStatus",
      "cloudtrail:ListTags",
    ]
    resources = ["arn:${local.partition}:cloudtrail:${local.region_and_account}:trail/${var.prefix}-trail"]
  }
  statement {
    sid = "ReadItsBucket"
    actions = [
      "s3:GetAccelerateConfiguration",
      "s3:GetAnalyticsConfiguration",
      "s3:GetBucketAbac",
      "s3:GetBucketCORS",
      "s3:GetBucketLogging",
      "s3:GetBucketMetadataTableConfiguration",
      "s3:GetBucketNotification",
      "s3:GetBucketObjectLockConfiguration",
      "s3:GetBucketOwnershipControls",
      "s3:GetBucketPolicy",
      "s3:GetBucketPublicAccessBlock",
      "s3:GetBucketTagging",
      "s3:GetBucketVersioning",
      "s3:GetBucketWebsite",
      "s3:GetEncryptionConfiguration",
      "s3:GetIntelligentTieringConfiguration",
      "s3:GetInventoryConfiguration",
      "s3:GetLifecycleConfiguration",
      "s3:GetMetricsConfiguration",
      "s3:GetReplicationConfiguration",
      "s3:ListBucket",
      "s3:ListTagsForResource",
    ]
    resources = ["arn:${local.partition}:s3:::${var.prefix}-*-trailbucket-*"]
  }
  statement {
    sid = "ReadTheFunction"
    actions = [
      "lambda:GetFunction",
      "lambda:GetFunctionCodeSigningConfig",
      "lambda:GetFunctionEventInvokeConfig",
      "lambda:GetFunctionRecursionConfig",
      "lambda:GetFunctionScalingConfig",
      "lambda:GetPolicy",
      "lambda:GetRuntimeManagementConfig",
    ]
    resources = ["arn:${local.partition}:lambda:${local.region_and_account}:function:${var.prefix}-*"]
  }
  statement {
    sid = "ReadTheMapping"
    actions = [
      "lambda:GetEventSourceMapping",
      "lambda:ListTags",
    ]
    resources = [local.mapping_arn]
  }
  statement {
    sid       = "ReadTheLayer"
    actions   = ["lambda:GetLayerVersion"]
    resources = ["arn:${local.partition}:lambda:${local.region_and_account}:layer:${var.prefix}-*:*"]
  }
  statement {
    sid = "ReadTheRules"
    actions = [
      "events:DescribeRule",
      "events:ListTagsForResource",
      "events:ListTargetsByRule",
    ]
    resources = [
      "arn:${local.partition}:events:${local.region_and_account}:rule/${var.prefix}-*",
      "arn:${local.partition}:events:${local.region_and_account}:rule/*/${var.prefix}-*",
    ]
  }
  statement {
    sid = "ReadTheBus"
    actions = [
      "events:DescribeEventBus",
      "events:ListTagsForResource",
    ]
    resources = local.bus_arns
  }
  statement {
    sid = "ReadTheTopic"
    actions = [
      "sns:GetDataProtectionPolicy",
      "sns:GetTopicAttributes",
      "sns:ListSubscriptionsByTopic",
      "sns:ListTagsForResource",
    ]
    resources = ["arn:${local.partition}:sns:${local.region_and_account}:${var.prefix}-*"]
  }
  statement {
    sid = "ReadTheQueues"
    actions = [
      "sqs:GetQueueAttributes",
      "sqs:ListQueueTags",
    ]
    resources = ["arn:${local.partition}:sqs:${local.region_and_account}:${var.prefix}-*"]
  }
  statement {
    sid = "ReadTheLedger"
    actions = [
      "dynamodb:DescribeContinuousBackups",
      "dynamodb:DescribeContributorInsights",
      "dynamodb:DescribeKinesisStreamingDestination",
      "dynamodb:DescribeTable",
      "dynamodb:DescribeTimeToLive",
      "dynamodb:GetResourcePolicy",
      "dynamodb:ListTagsOfResource",
    ]
    resources = ["arn:${local.partition}:dynamodb:${local.region_and_account}:table/${var.prefix}-*"]
  }
  statement {
    sid = "ReadTheKeys"
    actions = [
      "kms:DescribeKey",
      "kms:GetKeyPolicy",
      "kms:GetKeyRotationStatus",
      "kms:ListResourceTags",
    ]
    resources = ["arn:${local.partition}:kms:${local.region_and_account}:key/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signwatch:prefix"
      values   = [var.prefix]
    }
  }
  statement {
    sid = "ReadTheRoles"
    actions = [
      "iam:GetRole",
      "iam:GetRolePolicy",
      "iam:ListAttachedRolePolicies",
      "iam:ListRolePolicies",
    ]
    resources = local.stack_role_arns
  }
  statement {
    # The description of the secret, not its value.
    sid       = "ReadTheSecretsForm"
    actions   = ["secretsmanager:DescribeSecret"]
    resources = ["arn:${local.partition}:secretsmanager:${local.region_and_account}:secret:TwilioSecret-*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signwatch:prefix"
      values   = [var.prefix]
    }
  }
  statement {
    sid       = "ReadTheLogGroups"
    actions   = ["logs:DescribeSubscriptionFilters", "logs:GetDataProtectionPolicy"]
    resources = [for arn in local.log_group_arns : "${arn}:*"]
  }
  dynamic "statement" {
    # ./inv deploy counts the filters too.
    for_each = local.existing_log_group_arns
    content {
      sid       = "ReadTheFiltersOfAnExistingTrail"
      actions   = ["logs:DescribeSubscriptionFilters"]
      resources = [statement.value]
    }
  }
  statement {
    # Only this action takes the ARN without ":*" at its end.
    sid       = "ReadTheirTags"
    actions   = ["logs:ListTagsForResource"]
    resources = local.log_group_arns
  }
  statement {
    # This call reads all alarms at once.
    sid       = "SeeAlarms"
    actions   = ["cloudwatch:DescribeAlarms"]
    resources = ["arn:${local.partition}:cloudwatch:${local.region_and_account}:alarm:*"]
  }
  statement {
    sid       = "ReadTheTagsOfAlarms"
    actions   = ["cloudwatch:ListTagsForResource"]
    resources = ["arn:${local.partition}:cloudwatch:${local.region_and_account}:alarm:${var.prefix}-*"]
  }
  statement {
    # These actions take no resource (Service Authorization Reference).
    sid = "ReadWhatKnowsNoResource"
    actions = [
      "cloudtrail:DescribeTrails",
      "kms:ListAliases",
      "logs:DescribeIndexPolicies",
      "logs:DescribeLogGroups",
      "logs:DescribeResourcePolicies",
      "sns:GetSubscriptionAttributes",
    ]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "drift" {
  name   = "drift"
  role   = aws_iam_role.deploy.name
  policy = data.aws_iam_policy_document.drift.json
}
