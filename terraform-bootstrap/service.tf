# The service role: what CloudFormation itself may do.

data "aws_iam_policy_document" "service_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["cloudformation.amazonaws.com"]
    }
    condition {
      test     = "StringEqualsIfExists" # no page says that CloudFormation names the account when it takes the role of a stack
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_iam_role" "service" {
  name               = local.stack_name
  description        = "CloudFormation makes and changes the stacks of ${var.prefix} as this role"
  assume_role_policy = data.aws_iam_policy_document.service_trust.json
}

data "aws_iam_policy_document" "service_resources" {
  statement {
    sid       = "NestedStacks"
    actions   = ["cloudformation:CreateChangeSet", "cloudformation:CreateStack", "cloudformation:DeleteChangeSet", "cloudformation:DeleteStack", "cloudformation:DescribeChangeSet", "cloudformation:DescribeStackEvents", "cloudformation:DescribeStacks", "cloudformation:ExecuteChangeSet", "cloudformation:GetStackPolicy", "cloudformation:GetTemplate", "cloudformation:TagResource", "cloudformation:UpdateStack", "cloudformation:UpdateTerminationProtection"]
    resources = local.stack_arns
  }
  statement {
    sid       = "ReadTemplatesAndZips"
    actions   = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = ["${local.bucket_arns.templates}/*", "${local.bucket_arns.artifacts}/*"]
  }
  statement {
    sid = "TrailBucket" # a generated name: stack, logical id and a random end in lower case, the stack's part cut where 63 characters are too few
    actions = [
      "s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:GetAccelerateConfiguration", "s3:GetAnalyticsConfiguration", "s3:GetBucketAbac", "s3:GetBucketCORS", "s3:GetBucketMetadataTableConfiguration", "s3:GetBucketLogging",
      "s3:GetBucketNotification", "s3:GetBucketObjectLockConfiguration", "s3:GetBucketOwnershipControls", "s3:GetBucketPolicy", "s3:GetBucketPublicAccessBlock", "s3:GetBucketTagging",
      "s3:GetBucketVersioning", "s3:GetBucketWebsite", "s3:GetEncryptionConfiguration", "s3:GetIntelligentTieringConfiguration", "s3:GetInventoryConfiguration",
      "s3:GetLifecycleConfiguration", "s3:GetMetricsConfiguration", "s3:GetReplicationConfiguration", "s3:ListBucket", "s3:ListTagsForResource", "s3:PutBucketLogging", "s3:PutBucketOwnershipControls",
      "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging", "s3:PutBucketVersioning", "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration", "s3:TagResource", "s3:UntagResource",
    ]
    resources = ["arn:${local.partition}:s3:::${var.prefix}-*-trailbucket-*"]
  }
  statement {
    sid       = "Trail"
    actions   = ["cloudtrail:AddTags", "cloudtrail:CreateTrail", "cloudtrail:DeleteTrail", "cloudtrail:GetEventConfiguration", "cloudtrail:GetEventSelectors", "cloudtrail:GetInsightSelectors", "cloudtrail:GetTrail", "cloudtrail:GetTrailStatus", "cloudtrail:ListTags", "cloudtrail:PutEventSelectors", "cloudtrail:RemoveTags", "cloudtrail:StartLogging", "cloudtrail:StopLogging", "cloudtrail:UpdateTrail"]
    resources = ["arn:${local.partition}:cloudtrail:${local.here}:trail/${var.prefix}-trail"]
  }
  statement {
    sid       = "LogGroups"
    actions   = ["logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:DeleteRetentionPolicy", "logs:DescribeIndexPolicies", "logs:DisassociateKmsKey", "logs:GetDataProtectionPolicy", "logs:PutRetentionPolicy"]
    resources = [for arn in local.log_group_arns : "${arn}:*"]
  }
  statement {
    sid       = "LogGroupTags" # these calls alone want the ARN without its end (CloudWatch Logs, overview of managing access)
    actions   = ["logs:ListTagsForResource", "logs:TagResource", "logs:UntagResource"]
    resources = local.log_group_arns
  }
  statement {
    sid       = "Function"
    actions   = ["lambda:AddPermission", "lambda:CreateFunction", "lambda:DeleteFunction", "lambda:DeleteFunctionConcurrency", "lambda:DeleteFunctionEventInvokeConfig", "lambda:GetFunction", "lambda:GetFunctionCodeSigningConfig", "lambda:GetFunctionEventInvokeConfig", "lambda:GetFunctionRecursionConfig", "lambda:GetFunctionScalingConfig", "lambda:GetPolicy", "lambda:GetRuntimeManagementConfig", "lambda:PutFunctionConcurrency", "lambda:PutFunctionEventInvokeConfig", "lambda:RemovePermission", "lambda:TagResource", "lambda:UntagResource", "lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration", "lambda:UpdateFunctionEventInvokeConfig"]
    resources = ["arn:${local.partition}:lambda:${local.here}:function:${var.prefix}-*"]
  }
  statement {
    sid       = "Layer"
    actions   = ["lambda:DeleteLayerVersion", "lambda:GetLayerVersion", "lambda:PublishLayerVersion"]
    resources = ["arn:${local.partition}:lambda:${local.here}:layer:${var.prefix}-*", "arn:${local.partition}:lambda:${local.here}:layer:${var.prefix}-*:*"]
  }
  statement {
    sid       = "Rules"
    actions   = ["events:DeleteRule", "events:DescribeRule", "events:ListTagsForResource", "events:ListTargetsByRule", "events:PutRule", "events:PutTargets", "events:RemoveTargets", "events:TagResource", "events:UntagResource"]
    resources = ["arn:${local.partition}:events:${local.here}:rule/${var.prefix}-*", "arn:${local.partition}:events:${local.here}:rule/*/${var.prefix}-*"]
  }
  statement {
    sid       = "Alarms"
    actions   = ["cloudwatch:DeleteAlarms", "cloudwatch:ListTagsForResource", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource", "cloudwatch:UntagResource"]
    resources = ["arn:${local.partition}:cloudwatch:${local.here}:alarm:${var.prefix}-*"]
  }
  statement {
    sid       = "SeeAlarms" # asked of all alarms at once
    actions   = ["cloudwatch:DescribeAlarms"]
    resources = ["arn:${local.partition}:cloudwatch:${local.here}:alarm:*"]
  }
  statement {
    sid       = "NoResourceLevel" # these calls know no resource (Service Authorization Reference)
    actions   = ["cloudtrail:DescribeTrails", "kms:CreateKey", "kms:ListAliases", "logs:DeleteResourcePolicy", "logs:DescribeLogGroups", "logs:DescribeResourcePolicies", "logs:PutResourcePolicy", "sns:GetSubscriptionAttributes", "sns:SetSubscriptionAttributes", "sns:Unsubscribe"]
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
    sid       = "Topic"
    actions   = ["sns:CreateTopic", "sns:DeleteTopic", "sns:GetDataProtectionPolicy", "sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic", "sns:ListTagsForResource", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource", "sns:UntagResource"]
    resources = ["arn:${local.partition}:sns:${local.here}:${var.prefix}-*"]
  }
  statement {
    sid       = "Queues"
    actions   = ["sqs:CreateQueue", "sqs:DeleteQueue", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags", "sqs:SetQueueAttributes", "sqs:TagQueue", "sqs:UntagQueue"]
    resources = ["arn:${local.partition}:sqs:${local.here}:${var.prefix}-*"]
  }
  statement {
    sid       = "Mappings" # making one knows no resource, a mapping's id is AWS's invention: the function that it calls tells ours
    actions   = ["lambda:CreateEventSourceMapping", "lambda:DeleteEventSourceMapping", "lambda:UpdateEventSourceMapping"]
    resources = ["*"]
    condition {
      test     = "ArnLike"
      variable = "lambda:FunctionArn"
      values   = ["arn:${local.partition}:lambda:${local.here}:function:${var.prefix}-*"]
    }
  }
  statement {
    sid       = "ReadAndTagMappings" # these calls know no function (Service Authorization Reference)
    actions   = ["lambda:GetEventSourceMapping", "lambda:ListTags", "lambda:TagResource", "lambda:UntagResource"]
    resources = [local.mapping_arn]
  }
  statement {
    sid       = "Ledger"
    actions   = ["dynamodb:CreateTable", "dynamodb:DeleteTable", "dynamodb:DescribeContinuousBackups", "dynamodb:DescribeContributorInsights", "dynamodb:DescribeKinesisStreamingDestination", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:GetResourcePolicy", "dynamodb:ListTagsOfResource", "dynamodb:TagResource", "dynamodb:UntagResource", "dynamodb:UpdateContinuousBackups", "dynamodb:UpdateTable", "dynamodb:UpdateTimeToLive"]
    resources = ["arn:${local.partition}:dynamodb:${local.here}:table/${var.prefix}-*"]
  }
  statement {
    sid       = "Secret"
    actions   = ["secretsmanager:CreateSecret", "secretsmanager:DeleteSecret", "secretsmanager:DescribeSecret", "secretsmanager:TagResource", "secretsmanager:UntagResource", "secretsmanager:UpdateSecret"]
    resources = ["arn:${local.partition}:secretsmanager:${local.here}:secret:TwilioSecret-*"]
  }
  statement {
    sid       = "Keys" # a key's id is AWS's invention; the tag that CloudFormation hands down tells ours
    actions   = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:EnableKeyRotation", "kms:Encrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:ScheduleKeyDeletion", "kms:UntagResource", "kms:UpdateKeyDescription"]
    resources = ["arn:${local.partition}:kms:${local.here}:key/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signwatch:prefix"
      values   = [var.prefix]
    }
  }
  statement {
    sid       = "TagNewKeys"
    actions   = ["kms:TagResource"]
    resources = ["arn:${local.partition}:kms:${local.here}:key/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/signwatch:prefix"
      values   = [var.prefix]
    }
  }
  statement {
    sid       = "KeyNames"
    actions   = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
    resources = ["arn:${local.partition}:kms:${local.here}:alias/${var.prefix}-*", "arn:${local.partition}:kms:${local.here}:key/*"]
  }
  statement {
    sid       = "ReadRoles"
    actions   = ["iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"]
    resources = local.role_arns
  }
  statement {
    sid       = "MakeRolesWithinTheBoundary"
    actions   = ["iam:CreateRole", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"]
    resources = local.role_arns
    condition {
      test     = "StringEquals"
      variable = "iam:PermissionsBoundary"
      values   = [local.boundary_arn]
    }
  }
  statement {
    sid       = "KeepRoles"
    actions   = ["iam:DeleteRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole", "iam:UpdateRoleDescription"]
    resources = local.role_arns
  }
  statement {
    sid       = "HandRolesToTheirServices"
    actions   = ["iam:PassRole"]
    resources = local.role_arns
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["cloudtrail.amazonaws.com", "lambda.amazonaws.com"]
    }
  }
  statement {
    sid         = "NeverChangeItselfOrTheDeployRole"
    effect      = "Deny"
    not_actions = ["iam:PassRole"]
    resources   = [local.deploy_arn, local.service_arn]
  }
  statement {
    sid       = "NeverTheBoundary"
    effect    = "Deny"
    actions   = ["iam:CreatePolicyVersion", "iam:DeletePolicy", "iam:DeletePolicyVersion", "iam:DeleteRolePermissionsBoundary", "iam:SetDefaultPolicyVersion"]
    resources = concat([local.boundary_arn], local.role_arns)
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
  for_each   = { resources = aws_iam_policy.service_resources.arn, foundation = aws_iam_policy.service_foundation.arn }
  role       = aws_iam_role.service.name
  policy_arn = each.value
}
