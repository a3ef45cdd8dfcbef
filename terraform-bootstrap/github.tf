# Roles for the workflows of one GitHub repository; nothing of it is made until github_repository names one.

locals {
  github_events = { preview = "pull_request", deploy = "environment:${var.github_environment}" }
  github_roles  = { for name, event in local.github_events : name => event if var.github_repository != "" }
  github_arns   = { for name, event in local.github_roles : name => "arn:${local.partition}:iam::${var.account_id}:role/${var.prefix}-github-${name}" }

  # GitHub signs the numbers of owner and repository into an immutable subject, so that a name that changes hands opens nothing.
  github_immutable = "${replace(var.github_repository, "/", "@${var.github_owner_id}/")}@${var.github_repository_id}"
  github_subject   = var.github_subject_form == "immutable" ? local.github_immutable : var.github_repository
}

# An account has one provider for GitHub, and other projects may come to trust it: it never goes with this configuration.
resource "aws_iam_openid_connect_provider" "github" {
  count          = var.github_repository != "" && var.github_oidc_provider_arn == "" ? 1 : 0
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
  lifecycle {
    prevent_destroy = true
  }
}

# One that is there already is looked at and left as it is.
data "aws_iam_openid_connect_provider" "github" {
  count = var.github_repository != "" && var.github_oidc_provider_arn != "" ? 1 : 0
  arn   = var.github_oidc_provider_arn
  lifecycle {
    postcondition {
      condition     = contains(self.client_id_list, "sts.amazonaws.com")
      error_message = "The provider in github_oidc_provider_arn does not know the audience sts.amazonaws.com: add it there."
    }
  }
}

# --- who may come in: one repository, for a pull request or from the protected environment ----------------------------

# No scanner's check knows the immutable subject yet, so tests/github.tftest.hcl holds each trust whole: who, which
# audience, which subject.
locals {
  github_trust = { for name, event in local.github_roles : name => {
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = "arn:${local.partition}:iam::${var.account_id}:oidc-provider/token.actions.githubusercontent.com" }
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
  assume_role_policy   = jsonencode(local.github_trust[each.key])
  max_session_duration = 3600
  depends_on           = [aws_iam_openid_connect_provider.github, data.aws_iam_openid_connect_provider.github]
}

resource "aws_iam_role_policy" "github" {
  for_each = local.github_roles
  name     = each.key
  role     = aws_iam_role.github[each.key].id
  policy   = each.key == "preview" ? data.aws_iam_policy_document.github_preview.json : data.aws_iam_policy_document.github_deploy.json
}

# --- what they may do: show a change and never make it; become the deploy role ----------------------------------------

data "aws_iam_policy_document" "github_preview" {
  source_policy_documents = [data.aws_iam_policy_document.handing_over.json]
  statement {
    sid       = "ShowChanges" # the tags of a stack are asked for with its change set already
    actions   = ["cloudformation:CreateChangeSet", "cloudformation:DeleteChangeSet", "cloudformation:DescribeChangeSet", "cloudformation:DescribeStacks", "cloudformation:TagResource"]
    resources = local.stack_arns
  }
  statement {
    sid       = "NeverMakeThem" # whatever else is attached to this role one day
    effect    = "Deny"
    actions   = ["cloudformation:CreateStack", "cloudformation:DeleteStack", "cloudformation:ExecuteChangeSet", "cloudformation:UpdateStack"]
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
    resources = [local.deploy_arn]
  }
  statement {
    sid       = "ReadTheContract"
    actions   = ["ssm:GetParametersByPath"]
    resources = local.contract_arns
  }
}
