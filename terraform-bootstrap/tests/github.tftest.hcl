# The real provider renders policy documents without calling AWS. It gets no valid credentials.
provider "aws" {
  region                      = "eu-west-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true
}

variables {
  account_id               = "111122223333"
  region                   = "eu-west-1"
  prefix                   = "guard"
  sso_permission_set_names = ["Deployers"]
  github_repository        = "example-org/watch.tower"
  github_owner_id          = "12345"
  github_repository_id     = "678901"
}

run "without_a_repository_nothing_is_created_for_github_and_nothing_of_it_is_trusted" {
  command = plan
  variables {
    github_repository    = ""
    github_owner_id      = ""
    github_repository_id = ""
  }

  assert {
    condition = alltrue([
      length(aws_iam_role.github) == 0,
      length(aws_iam_role_policy.github) == 0,
      length(aws_iam_openid_connect_provider.github) == 0,
    ])
    error_message = "Something is created for GitHub."
  }
  assert {
    condition     = jsondecode(data.aws_iam_policy_document.deploy_trust.json).Statement[*].Sid == ["PermissionSets"]
    error_message = "The trust is: ${data.aws_iam_policy_document.deploy_trust.json}"
  }
}

# --- trust: whose token may assume a role (eleven cases) --------------------------------------------------------------

run "oidc_01_the_immutable_form_lets_the_environment_of_the_numbered_repository_deploy" {
  command = plan

  assert {
    condition = jsondecode(aws_iam_role.github["deploy"].assume_role_policy).Statement[0].Condition.StringEquals == {
      "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
      "token.actions.githubusercontent.com:sub" = "repo:example-org@12345/watch.tower@678901:environment:production"
    }
    error_message = "The trust is: ${aws_iam_role.github["deploy"].assume_role_policy}"
  }
}

run "oidc_02_the_immutable_form_lets_pull_requests_of_the_numbered_repository_preview" {
  command = plan

  assert {
    condition = jsondecode(aws_iam_role.github["preview"].assume_role_policy).Statement[0].Condition.StringEquals == {
      "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
      "token.actions.githubusercontent.com:sub" = "repo:example-org@12345/watch.tower@678901:pull_request"
    }
    error_message = "The trust is: ${aws_iam_role.github["preview"].assume_role_policy}"
  }
}

run "oidc_03_the_classic_form_lets_the_environment_of_the_named_repository_deploy" {
  command = plan
  variables {
    github_subject_form = "classic"
    github_environment  = "live_1.eu"
  }

  assert {
    condition = jsondecode(aws_iam_role.github["deploy"].assume_role_policy).Statement[0].Condition.StringEquals == {
      "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
      "token.actions.githubusercontent.com:sub" = "repo:example-org/watch.tower:environment:live_1.eu"
    }
    error_message = "The trust is: ${aws_iam_role.github["deploy"].assume_role_policy}"
  }
}

run "oidc_04_the_classic_form_needs_no_numbers_and_lets_pull_requests_of_the_named_repository_preview" {
  command = plan
  variables {
    github_subject_form  = "classic"
    github_owner_id      = ""
    github_repository_id = ""
  }

  assert {
    condition = jsondecode(aws_iam_role.github["preview"].assume_role_policy).Statement[0].Condition.StringEquals == {
      "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
      "token.actions.githubusercontent.com:sub" = "repo:example-org/watch.tower:pull_request"
    }
    error_message = "The trust is: ${aws_iam_role.github["preview"].assume_role_policy}"
  }
}

run "oidc_05_each_trust_is_one_statement_with_one_audience_and_one_subject_both_compared_by_equality" {
  command = plan

  assert {
    condition = { for name, role in aws_iam_role.github : name => jsondecode(role.assume_role_policy).Statement } == {
      for name, event in { preview = "pull_request", deploy = "environment:production" } : name => [{
        Effect    = "Allow"
        Action    = "sts:AssumeRoleWithWebIdentity"
        Principal = { Federated = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com" }
        Condition = { StringEquals = {
          "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
          "token.actions.githubusercontent.com:sub" = "repo:example-org@12345/watch.tower@678901:${event}"
        } }
      }]
    }
    error_message = "The trusts are: ${jsonencode([for role in aws_iam_role.github : role.assume_role_policy])}"
  }
}

run "oidc_06_every_repository_at_once_is_refused" {
  command = plan
  variables {
    github_repository = "*"
  }
  expect_failures = [var.github_repository]
}

run "oidc_07_every_repository_of_an_organisation_is_refused" {
  command = plan
  variables {
    github_repository = "example-org/*"
  }
  expect_failures = [var.github_repository]
}

run "oidc_08_every_branch_and_event_of_a_repository_is_refused" {
  command = plan
  variables {
    github_repository = "example-org/watch.tower:*"
  }
  expect_failures = [var.github_repository]
}

run "oidc_09_the_immutable_form_without_the_numbers_is_refused" {
  command = plan
  variables {
    github_owner_id      = ""
    github_repository_id = ""
  }
  expect_failures = [var.github_owner_id, var.github_repository_id]
}

run "oidc_10_an_existing_provider_is_trusted_and_not_created_again" {
  command = plan
  variables {
    github_oidc_provider_arn = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"
  }
  override_data {
    target = data.aws_iam_openid_connect_provider.github
    values = { client_id_list = ["sigstore", "sts.amazonaws.com"] }
  }

  assert {
    condition     = length(aws_iam_openid_connect_provider.github) == 0
    error_message = "The existing provider is created again."
  }
  assert {
    condition     = data.aws_iam_openid_connect_provider.github[0].arn == var.github_oidc_provider_arn
    error_message = "Another provider is checked."
  }
  assert {
    condition = [for role in aws_iam_role.github : jsondecode(role.assume_role_policy).Statement[0].Principal] == [
      { Federated = var.github_oidc_provider_arn },
      { Federated = var.github_oidc_provider_arn },
    ]
    error_message = "The trusts are: ${jsonencode([for role in aws_iam_role.github : role.assume_role_policy])}"
  }
}

run "oidc_11_another_form_of_the_subject_and_every_environment_are_refused" {
  command = plan
  variables {
    github_subject_form = "legacy"
    github_environment  = "*"
  }
  expect_failures = [var.github_subject_form, var.github_environment]
}

# --- other values that are refused ------------------------------------------------------------------------------------

run "a_provider_without_the_audience_of_aws_is_refused" {
  command = plan
  variables {
    github_oidc_provider_arn = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"
  }
  override_data {
    target = data.aws_iam_openid_connect_provider.github
    values = { client_id_list = ["sigstore"] }
  }
  expect_failures = [data.aws_iam_openid_connect_provider.github]
}

run "ids_that_are_no_numbers_and_a_provider_of_another_account_are_refused" {
  command = plan
  variables {
    github_owner_id          = "example-org"
    github_repository_id     = "*"
    github_oidc_provider_arn = "arn:aws:iam::444455556666:oidc-provider/token.actions.githubusercontent.com"
  }
  expect_failures = [var.github_owner_id, var.github_repository_id, var.github_oidc_provider_arn]
}

run "a_wildcard_for_one_character_is_refused" {
  command = plan
  variables {
    github_repository  = "example-org/watch?tower"
    github_environment = "productio?"
  }
  expect_failures = [var.github_repository, var.github_environment]
}

run "parts_of_a_subject_in_a_name_and_a_provider_that_is_not_githubs_are_refused" {
  command = plan
  variables {
    github_repository        = "example-org@1/watch.tower@2"
    github_environment       = "production:ref:refs/heads/main"
    github_oidc_provider_arn = "arn:aws:iam::111122223333:oidc-provider/*"
  }
  expect_failures = [var.github_repository, var.github_environment, var.github_oidc_provider_arn]
}

# --- permissions of the roles -----------------------------------------------------------------------------------------

run "a_repository_alone_may_deploy" {
  command = plan
  variables {
    sso_permission_set_names = []
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.deploy_trust.json).Statement[*].Sid == ["GitHub"]
    error_message = "The trust is: ${data.aws_iam_policy_document.deploy_trust.json}"
  }
}

run "each_role_of_github_trusts_the_created_provider_and_has_no_more_rights_than_it_needs" {
  command = plan

  # A missing provider is created for this audience alone, and the roles trust it.
  assert {
    condition = [
      for provider in aws_iam_openid_connect_provider.github : [provider.url, tolist(provider.client_id_list)]
    ] == [["https://token.actions.githubusercontent.com", tolist(["sts.amazonaws.com"])]]
    error_message = "Another provider is created."
  }
  assert {
    condition = toset([
      for role in aws_iam_role.github :
      trimprefix(jsondecode(role.assume_role_policy).Statement[0].Principal.Federated, "arn:aws:iam::111122223333:")
    ]) == toset(["oidc-provider/${trimprefix(aws_iam_openid_connect_provider.github[0].url, "https://")}"])
    error_message = "The trusts are: ${jsonencode([for role in aws_iam_role.github : role.assume_role_policy])}"
  }

  # The deploy role trusts GitHub's deploy role by its ARN, and not the preview role.
  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.deploy_trust.json).Statement :
      statement if statement.Sid != "PermissionSets"
      ] == [{
        Sid       = "GitHub"
        Effect    = "Allow"
        Action    = "sts:AssumeRole"
        Principal = { AWS = "arn:aws:iam::111122223333:role/guard-github-deploy" }
    }]
    error_message = "The trust is: ${data.aws_iam_policy_document.deploy_trust.json}"
  }
  assert {
    condition = (
      jsondecode(aws_iam_role.deploy.assume_role_policy) == jsondecode(data.aws_iam_policy_document.deploy_trust.json)
    )
    error_message = "The deploy role has another trust policy."
  }
  assert {
    condition     = aws_iam_role.github["deploy"].name == "guard-github-deploy"
    error_message = "GitHub's deploy role has another name."
  }

  # GitHub's deploy role reads the contract, assumes the deploy role and can do nothing else.
  assert {
    condition = jsondecode(aws_iam_role_policy.github["deploy"].policy).Statement == [
      {
        Sid      = "BecomeTheDeployRole"
        Effect   = "Allow"
        Action   = "sts:AssumeRole"
        Resource = "arn:aws:iam::111122223333:role/guard-deploy"
      },
      {
        Sid    = "ReadTheContract"
        Effect = "Allow"
        Action = "ssm:GetParametersByPath"
        Resource = [
          "arn:aws:ssm:eu-west-1:111122223333:parameter/guard/bootstrap/*",
          "arn:aws:ssm:eu-west-1:111122223333:parameter/guard/bootstrap",
        ]
      },
    ]
    error_message = "The policy is: ${aws_iam_role_policy.github["deploy"].policy}"
  }

  # A preview writes below preview/ alone.
  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.github["preview"].policy).Statement :
      statement.Sid => [flatten([statement.Action]), toset(flatten([statement.Resource]))]
      if statement.Effect == "Allow" && anytrue([for action in flatten([statement.Action]) : startswith(action, "s3:")])
      } == {
      UploadForPreviewsAlone = [["s3:PutObject"], toset([
        "arn:aws:s3:::guard-templates-111122223333-eu-west-1/preview/*",
        "arn:aws:s3:::guard-artifacts-111122223333-eu-west-1/preview/*",
      ])]
      ReadTemplatesAndZips = [["s3:GetObject"], toset([
        "arn:aws:s3:::guard-templates-111122223333-eu-west-1/*",
        "arn:aws:s3:::guard-artifacts-111122223333-eu-west-1/*",
      ])]
      SeeWhatIsThere = [["s3:ListBucket"], toset([
        "arn:aws:s3:::guard-templates-111122223333-eu-west-1",
        "arn:aws:s3:::guard-artifacts-111122223333-eu-west-1",
      ])]
    }
    error_message = "The policy is: ${aws_iam_role_policy.github["preview"].policy}"
  }

  # A preview creates and reads change sets of this prefix, and can never execute one.
  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.github["preview"].policy).Statement :
      statement.Action if statement.Effect == "Allow"
      ])) == toset([
      "cloudformation:CreateChangeSet",
      "cloudformation:DeleteChangeSet",
      "cloudformation:DescribeChangeSet",
      "cloudformation:DescribeEvents",
      "cloudformation:DescribeStacks",
      "cloudformation:TagResource",
      "cloudtrail:DescribeTrails",
      "cloudtrail:GetEventSelectors",
      "cloudtrail:GetTrailStatus",
      "ec2:DescribeRegions",
      "iam:PassRole",
      "s3:GetObject",
      "s3:ListBucket",
      "s3:PutObject",
      "ssm:GetParametersByPath",
      "sso:ListInstances",
    ])
    error_message = "The policy is: ${aws_iam_role_policy.github["preview"].policy}"
  }
  assert {
    condition = [
      for statement in jsondecode(aws_iam_role_policy.github["preview"].policy).Statement :
      [toset(statement.Action), statement.Resource] if statement.Effect == "Deny"
      ] == [[
        toset([
          "cloudformation:CreateStack",
          "cloudformation:DeleteStack",
          "cloudformation:ExecuteChangeSet",
          "cloudformation:UpdateStack",
        ]),
        "*",
    ]]
    error_message = "Another policy could allow changes: ${aws_iam_role_policy.github["preview"].policy}"
  }
  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.github["preview"].policy).Statement :
      statement.Sid => [toset(flatten([statement.Resource])), try(statement.Condition, null)]
      if contains(["ShowChanges", "HandCloudFormationItsRole", "ReadTheContract"], statement.Sid)
      } == {
      ShowChanges = [toset([
        "arn:aws:cloudformation:eu-west-1:111122223333:stack/guard/*",
        "arn:aws:cloudformation:eu-west-1:111122223333:stack/guard-*/*",
      ]), null]
      HandCloudFormationItsRole = [
        toset(["arn:aws:iam::111122223333:role/guard-cloudformation"]),
        { StringEquals = { "iam:PassedToService" = "cloudformation.amazonaws.com" } },
      ]
      ReadTheContract = [toset([
        "arn:aws:ssm:eu-west-1:111122223333:parameter/guard/bootstrap",
        "arn:aws:ssm:eu-west-1:111122223333:parameter/guard/bootstrap/*",
      ]), null]
    }
    error_message = "The policy is: ${aws_iam_role_policy.github["preview"].policy}"
  }

  # A session lasts an hour at most.
  assert {
    condition = { for role in aws_iam_role.github : role.name => role.max_session_duration } == {
      "guard-github-preview" = 3600
      "guard-github-deploy"  = 3600
    }
    error_message = "A role lasts longer, or has another name."
  }
}
