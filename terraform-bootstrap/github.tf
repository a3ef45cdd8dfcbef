# Roles for the workflows of one GitHub repository. Nothing here is created while github_repository is empty.

locals {
  github_events = { preview = "pull_request", deploy = "environment:${var.github_environment}" }
  github_roles  = { for name, event in local.github_events : name => event if var.github_repository != "" }
  github_role_arns = {
    for name, event in local.github_roles : name => "${local.iam_arn}:role/${var.prefix}-github-${name}"
  }
  github_provider_arn = "${local.iam_arn}:oidc-provider/token.actions.githubusercontent.com"

  # An immutable subject contains the ids of owner and repository. Somebody who takes over the name gets no access.
  github_immutable = "${replace(var.github_repository, "/", "@${var.github_owner_id}/")}@${var.github_repository_id}"
  github_subject   = var.github_subject_form == "immutable" ? local.github_immutable : var.github_repository
}

# An account has one OIDC provider for GitHub, and other projects may use it too. So it is never deleted from here.
resource "aws_iam_openid_connect_provider" "github" {
  count          = var.github_repository != "" && var.github_oidc_provider_arn == "" ? 1 : 0
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
  lifecycle {
    prevent_destroy = true
  }
}

# An existing provider is checked and not changed.
data "aws_iam_openid_connect_provider" "github" {
  count = var.github_repository != "" && var.github_oidc_provider_arn != "" ? 1 : 0
  arn   = var.github_oidc_provider_arn
  lifecycle {
    postcondition {
      condition     = contains(self.client_id_list, "sts.amazonaws.com")
      error_message = "The provider in github_oidc_provider_arn lacks the audience sts.amazonaws.com: add it there."
    }
  }
}

# --- trust: one repository, for pull requests and for the protected environment ---------------------------------------

# No scanner knows the immutable subject yet. tests/github.tftest.hcl compares each trust policy in full.
locals {
  github_trust_policies = { for name, event in local.github_roles : name => {
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = local.github_provider_arn }
      Condition = {
        StringEquals = {
          "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
          "token.actions.githubusercontent.com:sub" = "repo:${local.github_subject}:${event}"
        }
      }
    }]
  } }
}

resource "aws_iam_role" "github" {
  for_each             = local.github_roles
  name                 = "${var.prefix}-github-${each.key}"
  description          = "Workflows of ${var.github_repository} on GitHub: ${each.value}"
  assume_role_policy   = jsonencode(local.github_trust_policies[each.key])
  max_session_duration = 3600
  depends_on           = [aws_iam_openid_connect_provider.github, data.aws_iam_openid_connect_provider.github]
}

locals {
  github_policies = {
    preview = data.aws_iam_policy_document.github_preview.json
    deploy  = data.aws_iam_policy_document.github_deploy.json
  }
}

resource "aws_iam_role_policy" "github" {
  for_each = local.github_roles
  name     = each.key
  role     = aws_iam_role.github[each.key].name
  policy   = local.github_policies[each.key]
}

# --- permissions: "preview" shows a change and cannot execute it, "deploy" assumes the deploy role --------------------

data "aws_iam_policy_document" "github_preview" {
  source_policy_documents = [data.aws_iam_policy_document.change_set_preparation.json]
  statement {
    # CreateChangeSet with tags needs TagResource on the stack.
    sid = "ShowChanges"
    actions = [
      "cloudformation:CreateChangeSet",
      "cloudformation:DeleteChangeSet",
      "cloudformation:DescribeStacks",
      "cloudformation:TagResource",
    ]
    resources = local.stack_arns
  }
  statement {
    # Holds even if somebody attaches another policy to this role.
    sid    = "NeverMakeThem"
    effect = "Deny"
    actions = [
      "cloudformation:CreateStack",
      "cloudformation:DeleteStack",
      "cloudformation:ExecuteChangeSet",
      "cloudformation:UpdateStack",
    ]
    resources = ["*"]
  }
  statement {
    sid       = "UploadForPreviewsAlone"
    actions   = ["s3:PutObject"]
    resources = ["${local.bucket_arns.templates}/preview/*", "${local.bucket_arns.artifacts}/preview/*"]
  }
  statement {
    sid       = "ReadTemplatesAndZips"
    actions   = ["s3:GetObject"]
    resources = ["${local.bucket_arns.templates}/*", "${local.bucket_arns.artifacts}/*"]
  }
}

data "aws_iam_policy_document" "github_deploy" {
  statement {
    sid       = "BecomeTheDeployRole"
    actions   = ["sts:AssumeRole"]
    resources = [local.deploy_role_arn]
  }
  statement {
    sid       = "ReadTheContract"
    actions   = ["ssm:GetParametersByPath"]
    resources = local.contract_arns
  }
}
