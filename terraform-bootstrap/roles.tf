locals {
  partition          = data.aws_partition.current.partition
  region_and_account = "${var.region}:${var.account_id}"
  iam_arn            = "arn:${local.partition}:iam::${var.account_id}"
  root_arn           = "${local.iam_arn}:root"

  # ARNs are computed, not read from the resources, so that a plan shows every policy before anything is created. For the
  # same reason, resources refer to each other by name: ./inv bootstrap --adopt finds what exists by the names in a plan.
  deploy_role_name  = "${var.prefix}-deploy"
  deploy_role_arn   = "${local.iam_arn}:role/${local.deploy_role_name}"
  service_role_name = "${var.prefix}-cloudformation"
  service_role_arn  = "${local.iam_arn}:role/${local.service_role_name}"
  stack_role_arns   = [for name in ["forwarder", "function", "trail"] : "${local.iam_arn}:role/${var.prefix}-${name}"]
  boundary_name     = "${var.prefix}-boundary"
  boundary_arn      = "${local.iam_arn}:policy/${local.boundary_name}"

  stack_arns = [
    "arn:${local.partition}:cloudformation:${local.region_and_account}:stack/${var.prefix}/*",
    "arn:${local.partition}:cloudformation:${local.region_and_account}:stack/${var.prefix}-*/*",
  ]
  # The forwarders of sign-ins are in other Regions.
  forwarder_stack_arn = "arn:${local.partition}:cloudformation:*:${var.account_id}:stack/${var.prefix}-forwarder/*"
  forwarder_rule_arn  = "arn:${local.partition}:events:*:${var.account_id}:rule/${var.prefix}-forwarder"
  # The bus that the stack makes, and those that its rules can be on.
  own_bus_arn     = "arn:${local.partition}:events:${local.region_and_account}:event-bus/${var.prefix}-*"
  default_bus_arn = "arn:${local.partition}:events:${local.region_and_account}:event-bus/default"
  bus_arns        = [local.own_bus_arn, local.default_bus_arn]
  # The deploy task and AWS generate the names of change sets, AWS the ids of event source mappings.
  change_set_arn = "arn:${local.partition}:cloudformation:*:${var.account_id}:changeSet/*"
  mapping_arn    = "arn:${local.partition}:lambda:${local.region_and_account}:event-source-mapping:*"

  log_group_arn = "arn:${local.partition}:logs:${local.region_and_account}:log-group"
  log_group_arns = [
    "${local.log_group_arn}:/aws/lambda/${var.prefix}-function",
    "${local.log_group_arn}:/aws/cloudtrail/${var.prefix}",
    "${local.log_group_arn}:/aws/events/${var.prefix}",
  ]
  # Of the account's existing trail, if the owner names it. It stays the owner's: the stacks only filter and read it.
  existing_log_group_arns = [
    for name in compact([var.trail_log_group_name]) : "${local.log_group_arn}:${name}:*"
  ]

  # GetParametersByPath is checked against the path that is read (Service Authorization Reference, Systems Manager).
  contract_arn  = "arn:${local.partition}:ssm:${local.region_and_account}:parameter/${var.prefix}/bootstrap"
  contract_arns = [local.contract_arn, "${local.contract_arn}/*"]
  networks_arn  = "arn:${local.partition}:ssm:${local.region_and_account}:parameter/${var.prefix}/networks"

  # Identity Center puts its Region into the path of a role, except us-east-1. The suffix has 16 characters and changes.
  sso_role_arn = "${local.iam_arn}:role/aws-reserved/sso.amazonaws.com"
  sso_role_arns = flatten([for name in var.sso_permission_set_names : [
    "${local.sso_role_arn}/AWSReservedSSO_${name}_????????????????",
    "${local.sso_role_arn}/*/AWSReservedSSO_${name}_????????????????",
  ]])
}

# --- deploy role: used by ./inv deploy, outputs, drift, secret, networks and destroy ----------------------------------

data "aws_iam_policy_document" "deploy_trust" {
  dynamic "statement" {
    for_each = length(local.sso_role_arns) > 0 ? ["permission sets"] : []
    content {
      sid     = "PermissionSets"
      actions = ["sts:AssumeRole"]
      principals {
        type        = "AWS"
        identifiers = [local.root_arn]
      }
      condition {
        test     = "ArnLike"
        variable = "aws:PrincipalArn"
        values   = local.sso_role_arns
      }
    }
  }

  dynamic "statement" {
    for_each = length(var.trusted_principal_arns) > 0 ? ["principals"] : []
    content {
      sid     = "Principals"
      actions = ["sts:AssumeRole"]
      principals {
        type        = "AWS"
        identifiers = var.trusted_principal_arns
      }
    }
  }

  dynamic "statement" {
    for_each = var.github_repository == "" ? [] : ["GitHub"]
    content {
      sid     = "GitHub"
      actions = ["sts:AssumeRole"]
      principals {
        type        = "AWS"
        identifiers = [local.github_role_arns.deploy]
      }
    }
  }
}

locals {
  deploy_trust_length = length(data.aws_iam_policy_document.deploy_trust.minified_json)
}

resource "aws_iam_role" "deploy" {
  name               = local.deploy_role_name
  description        = "Deploys the stacks of ${var.prefix} through CloudFormation"
  assume_role_policy = data.aws_iam_policy_document.deploy_trust.json
  depends_on         = [aws_iam_role.github] # IAM refuses to trust a role that does not exist
  lifecycle {
    precondition {
      condition     = local.deploy_trust_length <= 2048 # IAM and STS quotas, "Role trust policy length"
      error_message = "The deploy role's trust policy would be longer than IAM allows: name fewer principals."
    }
  }
}

# The rights to create a change set that runs as the service role. The deploy role needs them for the root stack, the
# service role for the nested stacks, because CloudFormation passes the role on to each of them. CreateChangeSet with tags
# is checked on the change set too (Service Authorization Reference, CreateChangeSet): each has a statement TagChangeSets,
# since only the deploy role makes change sets in other Regions.
data "aws_iam_policy_document" "change_sets" {
  statement {
    sid       = "HandCloudFormationItsRole"
    actions   = ["iam:PassRole"]
    resources = [local.service_role_arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["cloudformation.amazonaws.com"]
    }
  }
}

# The rights to prepare a change set. The deploy role has them, and so has GitHub's preview role.
data "aws_iam_policy_document" "change_set_preparation" {
  source_policy_documents = [data.aws_iam_policy_document.change_sets.json]
  statement {
    sid       = "TagChangeSets"
    actions   = ["cloudformation:TagResource"]
    resources = [local.change_set_arn]
  }
  statement {
    # A nested change set is described by its ARN alone. The Service Authorization Reference lists only stacks for
    # DescribeChangeSet. For DescribeEvents, which explains a failed validation, it lists stacks and change sets.
    sid = "DescribeChangeSets"
    actions = [
      "cloudformation:DescribeChangeSet",
      "cloudformation:DescribeEvents",
    ]
    resources = concat(local.stack_arns, [local.forwarder_stack_arn, local.change_set_arn])
  }
  statement {
    sid       = "SeeTheForwarders"
    actions   = ["cloudformation:DescribeStacks"]
    resources = [local.forwarder_stack_arn]
  }
  statement {
    # In which Regions sign-ins are recorded. These actions take no resource (Service Authorization Reference).
    sid = "LookForRegions"
    actions = [
      "ec2:DescribeRegions",
      "sso:ListInstances",
    ]
    resources = ["*"]
  }
  statement {
    sid       = "SeeWhatIsThere"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arns.templates, local.bucket_arns.artifacts]
  }
  statement {
    sid       = "ReadTheContract"
    actions   = ["ssm:GetParametersByPath"]
    resources = local.contract_arns
  }
  statement {
    # This action takes no resource (Service Authorization Reference).
    sid       = "ListTrails"
    actions   = ["cloudtrail:DescribeTrails"]
    resources = ["*"]
  }
  statement {
    # An organisation's trail is in the management account, and any trail may be in another Region.
    sid = "SeeWhatTrailsRecord"
    actions = [
      "cloudtrail:GetEventSelectors",
      "cloudtrail:GetTrailStatus",
    ]
    resources = ["arn:${local.partition}:cloudtrail:*:*:trail/*"]
  }
}

data "aws_iam_policy_document" "deploy" {
  source_policy_documents = [data.aws_iam_policy_document.change_set_preparation.json]
  statement {
    sid = "DeployTheStacks"
    actions = [
      "cloudformation:CreateChangeSet",
      "cloudformation:DeleteChangeSet",
      "cloudformation:DeleteStack",
      "cloudformation:DescribeStackEvents",
      "cloudformation:DescribeStackResources",
      "cloudformation:DescribeStacks",
      "cloudformation:ExecuteChangeSet",
      "cloudformation:ListChangeSets",
      "cloudformation:TagResource",
      "cloudformation:UpdateTerminationProtection",
    ]
    resources = concat(local.stack_arns, [local.forwarder_stack_arn])
  }
  statement {
    # Detecting the drift of a stack needs both Detect actions (CloudFormation user guide, on detecting drift).
    sid = "LookForDrift"
    actions = [
      "cloudformation:DescribeStackResourceDrifts",
      "cloudformation:DetectStackDrift",
      "cloudformation:DetectStackResourceDrift",
    ]
    resources = local.stack_arns
  }
  statement {
    # These actions take no resource (Service Authorization Reference).
    sid = "AskForTheResult"
    actions = [
      "cloudformation:BatchDescribeTypeConfigurations",
      "cloudformation:DescribeStackDriftDetectionStatus",
    ]
    resources = ["*"]
  }
  statement {
    # The texts show the alias. This action takes no resource either.
    sid       = "NameTheAccount"
    actions   = ["iam:ListAccountAliases"]
    resources = ["*"]
  }
  statement {
    sid = "UploadWhatIsNew"
    actions = [
      "s3:GetObject",
      "s3:PutObject",
    ]
    resources = ["${local.bucket_arns.templates}/*", "${local.bucket_arns.artifacts}/*"]
  }
  statement {
    sid       = "ReadTheNetworks"
    actions   = ["ssm:GetParametersByPath"]
    resources = [local.networks_arn, "${local.networks_arn}/*"]
  }
  statement {
    sid = "AllowAndRevokeNetworks"
    actions = [
      "ssm:DeleteParameter",
      "ssm:PutParameter",
    ]
    resources = ["${local.networks_arn}/*"]
  }
  statement {
    # CloudFormation names the secret after its logical id and hands the tag of the stack down to it.
    sid       = "FillTheSecret"
    actions   = ["secretsmanager:PutSecretValue"]
    resources = ["arn:${local.partition}:secretsmanager:${local.region_and_account}:secret:TwilioSecret-*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signwatch:prefix"
      values   = [var.prefix]
    }
  }
  statement {
    sid = "SealTheSecret"
    actions = [
      "kms:Decrypt",
      "kms:GenerateDataKey",
    ]
    resources = ["arn:${local.partition}:kms:${local.region_and_account}:key/*"]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${var.region}.amazonaws.com", "s3.${var.region}.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "deploy" {
  name   = "deploy"
  role   = aws_iam_role.deploy.name
  policy = data.aws_iam_policy_document.deploy.json
}

# --- permissions boundary: the most that a role of the stacks can do --------------------------------------------------

data "aws_iam_policy_document" "boundary" {
  statement {
    sid = "Logs"
    actions = [
      "logs:CreateLogStream",
      "logs:PutLogEvents",
    ]
    resources = [
      "${local.log_group_arn}:/aws/lambda/${var.prefix}-*:*",
      "${local.log_group_arn}:/aws/cloudtrail/${var.prefix}:*",
    ]
  }
  statement {
    sid = "Ledger"
    actions = [
      "dynamodb:GetItem",
      "dynamodb:PutItem",
      "dynamodb:UpdateItem",
    ]
    resources = ["arn:${local.partition}:dynamodb:${local.region_and_account}:table/${var.prefix}-*"]
  }
  statement {
    sid       = "Networks"
    actions   = ["ssm:GetParametersByPath"]
    resources = [local.networks_arn, "${local.networks_arn}/*"]
  }
  statement {
    sid       = "Secret"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = ["arn:${local.partition}:secretsmanager:${local.region_and_account}:secret:TwilioSecret-*"]
  }
  statement {
    # DescribeUser is checked on the store and on the user (Service Authorization Reference, AWS Identity Store).
    sid     = "Names"
    actions = ["identitystore:DescribeUser"]
    resources = [
      "arn:${local.partition}:identitystore::${var.account_id}:identitystore/*",
      "arn:${local.partition}:identitystore:::user/*",
    ]
  }
  statement {
    # The customer key of Identity Center lies in the account and the Region of its instance. The stack's parameter
    # IdentityStoreKeyArn names it.
    sid       = "IdentityStoreKey"
    actions   = ["kms:Decrypt"]
    resources = ["arn:${local.partition}:kms:*:*:key/*"]
    condition {
      test     = "StringLike"
      variable = "kms:ViaService"
      values   = ["identitystore.*.amazonaws.com"]
    }
  }
  statement {
    sid       = "Email"
    actions   = ["sns:Publish"]
    resources = ["arn:${local.partition}:sns:${local.region_and_account}:${var.prefix}-*"]
  }
  statement {
    sid = "Queues"
    actions = [
      "sqs:DeleteMessage",
      "sqs:GetQueueAttributes",
      "sqs:ReceiveMessage",
      "sqs:SendMessage",
    ]
    resources = ["arn:${local.partition}:sqs:*:${var.account_id}:${var.prefix}-*"]
  }
  statement {
    sid       = "Forwarders"
    actions   = ["events:PutEvents"]
    resources = local.bus_arns
  }
  statement {
    sid     = "RecordedEvents"
    actions = ["logs:FilterLogEvents"]
    resources = concat([
      "${local.log_group_arn}:/aws/events/${var.prefix}:*",
      "${local.log_group_arn}:/aws/cloudtrail/${var.prefix}:*",
    ], local.existing_log_group_arns)
  }
  statement {
    # The keys of the ledger and the secret.
    sid       = "Keys"
    actions   = ["kms:Decrypt"]
    resources = ["arn:${local.partition}:kms:${local.region_and_account}:key/*"]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["dynamodb.${var.region}.amazonaws.com", "secretsmanager.${var.region}.amazonaws.com"]
    }
  }
}

resource "aws_iam_policy" "boundary" {
  name        = local.boundary_name
  description = "The most that a role of the ${var.prefix} stacks can do, whatever its own policies say"
  policy      = data.aws_iam_policy_document.boundary.json
}
