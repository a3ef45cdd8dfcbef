# The service role: what CloudFormation may do when it creates, changes and deletes the stacks.

data "aws_iam_policy_document" "service_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["cloudformation.amazonaws.com"]
    }
    condition {
      # No page says whether CloudFormation sends this key when it assumes the role.
      test     = "StringEqualsIfExists"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_iam_role" "service" {
  name               = local.service_role_name
  description        = "CloudFormation makes and changes the stacks of ${var.prefix} as this role"
  assume_role_policy = data.aws_iam_policy_document.service_trust.json
}

data "aws_iam_policy_document" "service_resources" {
  statement {
    sid = "NestedStacks"
    actions = [
      "cloudformation:CreateChangeSet",
      "cloudformation:CreateStack",
      "cloudformation:DeleteChangeSet",
      "cloudformation:DeleteStack",
      "cloudformation:DescribeChangeSet",
      "cloudformation:DescribeStackEvents",
      "cloudformation:DescribeStacks",
      "cloudformation:ExecuteChangeSet",
      "cloudformation:GetStackPolicy",
      "cloudformation:GetTemplate",
      "cloudformation:TagResource",
      "cloudformation:UpdateStack",
      "cloudformation:UpdateTerminationProtection",
    ]
    resources = local.stack_arns
  }
  statement {
    sid = "ReadTemplatesAndZips"
    actions = [
      "s3:GetObject",
      "s3:GetObjectVersion",
    ]
    resources = ["${local.bucket_arns.templates}/*", "${local.bucket_arns.artifacts}/*"]
  }
  statement {
    # CloudFormation generates the bucket's name in lower case: stack, logical id, random characters. It shortens the
    # stack's part where the name would have more than 63 characters.
    sid = "TrailBucket"
    actions = [
      "s3:CreateBucket",
      "s3:DeleteBucket",
      "s3:DeleteBucketPolicy",
      "s3:GetAccelerateConfiguration",
      "s3:GetAnalyticsConfiguration",
      "s3:GetBucketAbac",
      "s3:GetBucketCORS",
      "s3:GetBucketMetadataTableConfiguration",
      "s3:GetBucketLogging",
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
      "s3:PutBucketLogging",
      "s3:PutBucketOwnershipControls",
      "s3:PutBucketPolicy",
      "s3:PutBucketPublicAccessBlock",
      "s3:PutBucketTagging",
      "s3:PutBucketVersioning",
      "s3:PutEncryptionConfiguration",
      "s3:PutLifecycleConfiguration",
      "s3:TagResource",
      "s3:UntagResource",
    ]
    resources = ["arn:${local.partition}:s3:::${var.prefix}-*-trailbucket-*"]
  }
  statement {
    sid = "Trail"
    actions = [
      "cloudtrail:AddTags",
      "cloudtrail:CreateTrail",
      "cloudtrail:DeleteTrail",
      "cloudtrail:GetEventConfiguration",
      "cloudtrail:GetEventSelectors",
      "cloudtrail:GetInsightSelectors",
      "cloudtrail:GetTrail",
      "cloudtrail:GetTrailStatus",
      "cloudtrail:ListTags",
      "cloudtrail:PutEventSelectors",
      "cloudtrail:RemoveTags",
      "cloudtrail:StartLogging",
      "cloudtrail:StopLogging",
      "cloudtrail:UpdateTrail",
    ]
    resources = ["arn:${local.partition}:cloudtrail:${local.region_and_account}:trail/${var.prefix}-trail"]
  }
  statement {
    sid = "LogGroups"
    actions = [
      "logs:CreateLogGroup",
      "logs:DeleteLogGroup",
      "logs:DeleteRetentionPolicy",
      "logs:DeleteSubscriptionFilter",
      "logs:DescribeSubscriptionFilters",
      "logs:GetDataProtectionPolicy",
      "logs:PutRetentionPolicy",
      "logs:PutSubscriptionFilter",
    ]
    resources = [for arn in local.log_group_arns : "${arn}:*"]
  }
  statement {
    # Only these actions take the ARN without ":*" at its end (CloudWatch Logs, overview of managing access).
    sid = "LogGroupTags"
    actions = [
      "logs:ListTagsForResource",
      "logs:TagResource",
      "logs:UntagResource",
    ]
    resources = local.log_group_arns
  }
  statement {
    sid = "Function"
    actions = [
      "lambda:AddPermission",
      "lambda:CreateFunction",
      "lambda:DeleteFunction",
      "lambda:DeleteFunctionConcurrency",
      "lambda:DeleteFunctionEventInvokeConfig",
      "lambda:GetFunction",
      "lambda:GetFunctionCodeSigningConfig",
      "lambda:GetFunctionEventInvokeConfig",
      "lambda:GetFunctionRecursionConfig",
      "lambda:GetFunctionScalingConfig",
      "lambda:GetPolicy",
      "lambda:GetRuntimeManagementConfig",
      "lambda:PutFunctionConcurrency",
      "lambda:PutFunctionEventInvokeConfig",
      "lambda:RemovePermission",
      "lambda:TagResource",
      "lambda:UntagResource",
      "lambda:UpdateFunctionCode",
      "lambda:UpdateFunctionConfiguration",
      "lambda:UpdateFunctionEventInvokeConfig",
    ]
    resources = ["arn:${local.partition}:lambda:${local.region_and_account}:function:${var.prefix}-*"]
  }
  statement {
    sid = "Layer"
    actions = [
      "lambda:DeleteLayerVersion",
      "lambda:GetLayerVersion",
      "lambda:PublishLayerVersion",
    ]
    resources = [
      "arn:${local.partition}:lambda:${local.region_and_account}:layer:${var.prefix}-*",
      "arn:${local.partition}:lambda:${local.region_and_account}:layer:${var.prefix}-*:*",
    ]
  }
  statement {
    sid = "Rules"
    actions = [
      "events:DeleteRule",
      "events:DescribeRule",
      "events:ListTagsForResource",
      "events:ListTargetsByRule",
      "events:PutRule",
      "events:PutTargets",
      "events:RemoveTargets",
      "events:TagResource",
      "events:UntagResource",
    ]
    resources = [
      "arn:${local.partition}:events:${local.region_and_account}:rule/${var.prefix}-*",
      "arn:${local.partition}:events:${local.region_and_account}:rule/*/${var.prefix}-*",
      local.forwarder_rule_arn,
    ]
  }
  statement {
    # Its policy is read with it.
    sid       = "ReadTheDefaultBus"
    actions   = ["events:DescribeEventBus"]
    resources = [local.default_bus_arn]
  }
  statement {
    sid = "Alarms"
    actions = [
      "cloudwatch:DeleteAlarms",
      "cloudwatch:ListTagsForResource",
      "cloudwatch:PutMetricAlarm",
      "cloudwatch:TagResource",
      "cloudwatch:UntagResource",
    ]
    resources = ["arn:${local.partition}:cloudwatch:${local.region_and_account}:alarm:${var.prefix}-*"]
  }
  statement {
    # This call reads all alarms at once.
    sid       = "SeeAlarms"
    actions   = ["cloudwatch:DescribeAlarms"]
    resources = ["arn:${local.partition}:cloudwatch:${local.region_and_account}:alarm:*"]
  }
  statement {
    # These actions take no resource (Service Authorization Reference).
    sid = "NoResourceLevel"
    actions = [
      "cloudtrail:DescribeTrails",
      "events:PutPermission",
      "events:RemovePermission",
      "kms:CreateKey",
      "kms:ListAliases",
      "logs:DeleteResourcePolicy",
      "logs:DescribeIndexPolicies",
      "logs:DescribeLogGroups",
      "logs:DescribeResourcePolicies",
      "logs:PutResourcePolicy",
      "sns:GetSubscriptionAttributes",
      "sns:SetSubscriptionAttributes",
      "sns:Unsubscribe",
    ]
    resources = ["*"]
    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }
}

data "aws_iam_policy_document" "service_foundation" {
  source_policy_documents = [data.aws_iam_policy_document.change_sets.json]
  statement {
    sid       = "TagChangeSets"
    actions   = ["cloudformation:TagResource"]
    resources = ["arn:${local.partition}:cloudformation:${local.region_and_account}:changeSet/*"]
  }
  statement {
    sid = "Bus"
    actions = [
      "events:CreateEventBus",
      "events:DeleteEventBus",
      "events:DescribeEventBus",
      "events:ListTagsForResource",
      "events:TagResource",
      "events:UntagResource",
      "events:UpdateEventBus",
    ]
    resources = [local.own_bus_arn]
  }
  dynamic "statement" {
    for_each = local.existing_log_group_arns
    content {
      sid = "FilterOfAnExistingTrail"
      actions = [
        "logs:DeleteSubscriptionFilter",
        "logs:DescribeSubscriptionFilters",
        "logs:PutSubscriptionFilter",
      ]
      resources = [statement.value]
    }
  }
  statement {
    sid = "Topic"
    actions = [
      "sns:CreateTopic",
      "sns:DeleteTopic",
      "sns:GetDataProtectionPolicy",
      "sns:GetTopicAttributes",
      "sns:ListSubscriptionsByTopic",
      "sns:ListTagsForResource",
      "sns:SetTopicAttributes",
      "sns:Subscribe",
      "sns:TagResource",
      "sns:UntagResource",
    ]
    resources = ["arn:${local.partition}:sns:${local.region_and_account}:${var.prefix}-*"]
  }
  statement {
    sid = "Queues"
    actions = [
      "sqs:CreateQueue",
      "sqs:DeleteQueue",
      "sqs:GetQueueAttributes",
      "sqs:GetQueueUrl",
      "sqs:ListQueueTags",
      "sqs:SetQueueAttributes",
      "sqs:TagQueue",
      "sqs:UntagQueue",
    ]
    resources = ["arn:${local.partition}:sqs:${local.region_and_account}:${var.prefix}-*"]
  }
  statement {
    # Creating a mapping takes no resource, and AWS generates its id. The condition limits it to our function.
    sid = "Mappings"
    actions = [
      "lambda:CreateEventSourceMapping",
      "lambda:DeleteEventSourceMapping",
      "lambda:UpdateEventSourceMapping",
    ]
    resources = ["*"]
    condition {
      test     = "ArnLike"
      variable = "lambda:FunctionArn"
      values   = ["arn:${local.partition}:lambda:${local.region_and_account}:function:${var.prefix}-*"]
    }
  }
  statement {
    # These actions have no condition key for the function (Service Authorization Reference).
    sid = "ReadAndTagMappings"
    actions = [
      "lambda:GetEventSourceMapping",
      "lambda:ListTags",
      "lambda:TagResource",
      "lambda:UntagResource",
    ]
    resources = [local.mapping_arn]
  }
  statement {
    sid = "Ledger"
    actions = [
      "dynamodb:CreateTable",
      "dynamodb:DeleteTable",
      "dynamodb:DescribeContinuousBackups",
      "dynamodb:DescribeContributorInsights",
      "dynamodb:DescribeKinesisStreamingDestination",
      "dynamodb:DescribeTable",
      "dynamodb:DescribeTimeToLive",
      "dynamodb:GetResourcePolicy",
      "dynamodb:ListTagsOfResource",
      "dynamodb:TagResource",
      "dynamodb:UntagResource",
      "dynamodb:UpdateContinuousBackups",
      "dynamodb:UpdateTable",
      "dynamodb:UpdateTimeToLive",
    ]
    resources = ["arn:${local.partition}:dynamodb:${local.region_and_account}:table/${var.prefix}-*"]
  }
  statement {
    sid = "Secret"
    actions = [
      "secretsmanager:CreateSecret",
      "secretsmanager:DeleteSecret",
      "secretsmanager:DescribeSecret",
      "secretsmanager:TagResource",
      "secretsmanager:UntagResource",
      "secretsmanager:UpdateSecret",
    ]
    resources = ["arn:${local.partition}:secretsmanager:${local.region_and_account}:secret:TwilioSecret-*"]
  }
  statement {
    # CreateKey with tags needs this right. All other rights on the key are in its own policy (cfn/foundation.yaml),
    # which names this role: a right that depends on the tag has no effect while the key is created, and for up to five
    # minutes after that (KMS developer guide, "ABAC for AWS KMS"). No right depends on the tag, so the role gains
    # nothing by tagging the key of somebody else.
    sid       = "TagNewKeys"
    actions   = ["kms:TagResource"]
    resources = ["arn:${local.partition}:kms:${local.region_and_account}:key/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/signwatch:prefix"
      values   = [var.prefix]
    }
    condition {
      # A new key has no tag. The tag of another installation is never replaced.
      test     = "Null"
      variable = "aws:ResourceTag/signwatch:prefix"
      values   = ["true"]
    }
  }
  statement {
    sid = "KeyNames"
    actions = [
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:UpdateAlias",
    ]
    resources = [
      "arn:${local.partition}:kms:${local.region_and_account}:alias/${var.prefix}-*",
      "arn:${local.partition}:kms:${local.region_and_account}:key/*",
    ]
  }
  statement {
    sid = "ReadRoles"
    actions = [
      "iam:GetRole",
      "iam:GetRolePolicy",
      "iam:ListAttachedRolePolicies",
      "iam:ListRolePolicies",
    ]
    resources = local.stack_role_arns
  }
  statement {
    sid = "MakeRolesWithinTheBoundary"
    actions = [
      "iam:CreateRole",
      "iam:DeleteRolePolicy",
      "iam:PutRolePermissionsBoundary",
      "iam:PutRolePolicy",
    ]
    resources = local.stack_role_arns
    condition {
      test     = "StringEquals"
      variable = "iam:PermissionsBoundary"
      values   = [local.boundary_arn]
    }
  }
  statement {
    sid = "KeepRoles"
    actions = [
      "iam:DeleteRole",
      "iam:TagRole",
      "iam:UntagRole",
      "iam:UpdateAssumeRolePolicy",
      "iam:UpdateRole",
      "iam:UpdateRoleDescription",
    ]
    resources = local.stack_role_arns
  }
  statement {
    sid       = "HandRolesToTheirServices"
    actions   = ["iam:PassRole"]
    resources = local.stack_role_arns
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["cloudtrail.amazonaws.com", "events.amazonaws.com", "lambda.amazonaws.com"]
    }
  }
  statement {
    sid         = "NeverChangeItselfOrTheDeployRole"
    effect      = "Deny"
    not_actions = ["iam:PassRole"]
    resources   = [local.deploy_role_arn, local.service_role_arn]
  }
  statement {
    sid    = "NeverTheBoundary"
    effect = "Deny"
    actions = [
      "iam:CreatePolicyVersion",
      "iam:DeletePolicy",
      "iam:DeletePolicyVersion",
      "iam:DeleteRolePermissionsBoundary",
      "iam:SetDefaultPolicyVersion",
    ]
    resources = concat([local.boundary_arn], local.stack_role_arns)
  }
}

resource "aws_iam_policy" "service_resources" {
  name   = "${var.prefix}-cloudformation-resources"
  policy = data.aws_iam_policy_document.service_resources.json
}

resource "aws_iam_policy" "service_foundation" {
  name   = "${var.prefix}-cloudformation-foundation"
  policy = data.aws_iam_policy_document.service_foundation.json
}

resource "aws_iam_role_policy_attachment" "service" {
  for_each   = { resources = aws_iam_policy.service_resources.name, foundation = aws_iam_policy.service_foundation.name }
  role       = aws_iam_role.service.name
  policy_arn = "${local.iam_arn}:policy/${each.value}"
}
