locals {
  partition      = data.aws_partition.current.partition
  root_arn       = "arn:${local.partition}:iam::${var.account_id}:root"
  role_arns      = [for name in ["function", "trail"] : "arn:${local.partition}:iam::${var.account_id}:role/${var.prefix}-${name}"]
  stack_arns     = ["arn:${local.partition}:cloudformation:${var.region}:${var.account_id}:stack/${var.prefix}/*", "arn:${local.partition}:cloudformation:${var.region}:${var.account_id}:stack/${var.prefix}-*/*"]
  change_set_arn = "arn:${local.partition}:cloudformation:${local.here}:changeSet/*" # deploy and AWS itself make up their names
  deploy_name    = "${var.prefix}-deploy"
  stack_name     = "${var.prefix}-cloudformation"
  deploy_arn     = "arn:${local.partition}:iam::${var.account_id}:role/${local.deploy_name}"
  service_arn    = "arn:${local.partition}:iam::${var.account_id}:role/${local.stack_name}"
  here           = "${var.region}:${var.account_id}"

  # Computed and not read from the policy, so that a plan shows every document before anything is made.
  boundary_name = "${var.prefix}-boundary"
  boundary_arn  = "arn:${local.partition}:iam::${var.account_id}:policy/${local.boundary_name}"

  mapping_arn    = "arn:${local.partition}:lambda:${local.here}:event-source-mapping:*" # its end is AWS's invention
  log_group_arns = [for group in ["/aws/lambda/${var.prefix}-function", "/aws/cloudtrail/${var.prefix}", "/aws/events/${var.prefix}"] : "arn:${local.partition}:logs:${local.here}:log-group:${group}"]

  # GetParametersByPath is asked for the path that is read (Service Authorization Reference, Systems Manager).
  contract_arns = ["arn:${local.partition}:ssm:${local.here}:parameter/${var.prefix}/bootstrap", "arn:${local.partition}:ssm:${local.here}:parameter/${var.prefix}/bootstrap/*"]
  networks_arn  = "arn:${local.partition}:ssm:${local.here}:parameter/${var.prefix}/networks"

  # Identity Center puts its Region into the path of a role, except us-east-1; the suffix is sixteen characters and changes.
  sso_role_arns = flatten([for name in var.sso_permission_set_names : [
    "arn:${local.partition}:iam::${var.account_id}:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_${name}_????????????????",
    "arn:${local.partition}:iam::${var.account_id}:role/aws-reserved/sso.amazonaws.com/*/AWSReservedSSO_${name}_????????????????",
  ]])
}

# --- the deploy role: what ./inv deploy, outputs, drift, secret, networks and destroy act as --------------------------------

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
    for_each = var.github_repository == "" ? [] : ["the repository's environment"]
    content {
      sid     = "GitHub"
      actions = ["sts:AssumeRole"]
      principals {
        type        = "AWS"
        identifiers = [local.github_arns.deploy]
      }
    }
  }
}

resource "aws_iam_role" "deploy" {
  name               = local.deploy_name
  description        = "Deploys the stacks of ${var.prefix} through CloudFormation"
  assume_role_policy = data.aws_iam_policy_document.deploy_trust.json
  depends_on         = [aws_iam_role.github] # IAM refuses a trust in a role that is not there
}

# What it takes to make a change set that works as the service role: for a deployer the root's, and for that role itself
# those of the nested stacks, to each of which CloudFormation passes the role on.
data "aws_iam_policy_document" "change_sets" {
  statement {
    sid       = "TagChangeSets" # its tags are asked for on a change set too (Service Authorization Reference, CreateChangeSet)
    actions   = ["cloudformation:TagResource"]
    resources = [local.change_set_arn]
  }
  statement {
    sid       = "HandCloudFormationItsRole"
    actions   = ["iam:PassRole"]
    resources = [local.service_arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["cloudformation.amazonaws.com"]
    }
  }
}

# What it takes to hand anything to CloudFormation: the deploy role may, and so may the previews of GitHub's workflows.
data "aws_iam_policy_document" "handing_over" {
  source_policy_documents = [data.aws_iam_policy_document.change_sets.json]
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
}

data "aws_iam_policy_document" "deploy" {
  source_policy_documents = [data.aws_iam_policy_document.handing_over.json]
  statement {
    sid = "DeployTheStacks"
    actions = [
      "cloudformation:CreateChangeSet", "cloudformation:DeleteChangeSet", "cloudformation:DeleteStack", "cloudformation:DescribeChangeSet",
      "cloudformation:DescribeStackEvents", "cloudformation:DescribeStackResources", "cloudformation:DescribeStacks",
      "cloudformation:ExecuteChangeSet", "cloudformation:TagResource", "cloudformation:UpdateTerminationProtection",
    ]
    resources = local.stack_arns
  }
  statement {
    sid       = "LookForDrift" # a stack's drift takes both of the Detect actions (CloudFormation user guide, on detecting drift)
    actions   = ["cloudformation:DescribeStackResourceDrifts", "cloudformation:DetectStackDrift", "cloudformation:DetectStackResourceDrift"]
    resources = local.stack_arns
  }
  statement {
    sid       = "AskForTheResult" # these calls know no resource (Service Authorization Reference)
    actions   = ["cloudformation:BatchDescribeTypeConfigurations", "cloudformation:DescribeStackDriftDetectionStatus"]
    resources = ["*"]
  }
  statement {
    sid       = "NameTheAccount" # for the texts; this call knows no resource either
    actions   = ["iam:ListAccountAliases"]
    resources = ["*"]
  }
  statement {
    sid       = "UploadWhatIsNew"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${local.bucket_arns.templates}/*", "${local.bucket_arns.artifacts}/*"]
  }
  statement {
    sid       = "ReadTheNetworks"
    actions   = ["ssm:GetParametersByPath"]
    resources = [local.networks_arn, "${local.networks_arn}/*"]
  }
  statement {
    sid       = "AllowAndRevokeNetworks"
    actions   = ["ssm:DeleteParameter", "ssm:PutParameter"]
    resources = ["${local.networks_arn}/*"]
  }
  statement {
    sid       = "FillTheSecret" # CloudFormation names it after its logical id and marks it with its stack, a child of ours
    actions   = ["secretsmanager:PutSecretValue"]
    resources = ["arn:${local.partition}:secretsmanager:${local.here}:secret:TwilioSecret-*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signwatch:prefix"
      values   = [var.prefix]
    }
  }
  statement {
    sid       = "SealTheSecret"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = ["arn:${local.partition}:kms:${local.here}:key/*"]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${var.region}.amazonaws.com", "s3.${var.region}.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "deploy" {
  name   = "deploy"
  role   = aws_iam_role.deploy.id
  policy = data.aws_iam_policy_document.deploy.json
}

# --- the boundary: the most that any role of the stacks can ever do ---------------------------------------------------

data "aws_iam_policy_document" "boundary" {
  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = [for group in ["/aws/lambda/${var.prefix}-*", "/aws/cloudtrail/${var.prefix}"] : "arn:${local.partition}:logs:${local.here}:log-group:${group}:*"]
  }
  statement {
    sid       = "Ledger"
    actions   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
    resources = ["arn:${local.partition}:dynamodb:${local.here}:table/${var.prefix}-*"]
  }
  statement {
    sid       = "Networks"
    actions   = ["ssm:GetParametersByPath"]
    resources = [local.networks_arn, "${local.networks_arn}/*"]
  }
  statement {
    sid       = "Secret"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = ["arn:${local.partition}:secretsmanager:${local.here}:secret:TwilioSecret-*"]
  }
  statement {
    sid       = "Names" # the call asks for the store and for the user (Service Authorization Reference, AWS Identity Store)
    actions   = ["identitystore:DescribeUser"]
    resources = ["arn:${local.partition}:identitystore::${var.account_id}:identitystore/*", "arn:${local.partition}:identitystore:::user/*"]
  }
  statement {
    sid       = "Email"
    actions   = ["sns:Publish"]
    resources = ["arn:${local.partition}:sns:${local.here}:${var.prefix}-*"]
  }
  statement {
    sid       = "Queues"
    actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"]
    resources = ["arn:${local.partition}:sqs:*:${var.account_id}:${var.prefix}-*"]
  }
  statement {
    sid       = "RawEvents"
    actions   = ["logs:FilterLogEvents"]
    resources = ["arn:${local.partition}:logs:${local.here}:log-group:/aws/events/${var.prefix}:*"]
  }
  statement {
    sid       = "Keys"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = ["arn:${local.partition}:kms:${local.here}:key/*"]
  }
}

resource "aws_iam_policy" "boundary" {
  name        = local.boundary_name
  description = "The most that a role of the ${var.prefix} stacks can do, whatever its own policies say"
  policy      = data.aws_iam_policy_document.boundary.json
}
