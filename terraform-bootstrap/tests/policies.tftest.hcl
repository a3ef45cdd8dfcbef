# The real provider, because it writes policy documents on this machine alone; it has no credentials and asks nobody.
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
}

run "holders_of_a_permission_set_may_assume_the_deploy_role_in_both_forms_of_the_path" {
  command = plan

  assert {
    condition = jsondecode(data.aws_iam_policy_document.deploy_trust.json).Statement == [{
      Sid       = "PermissionSets"
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { AWS = "arn:aws:iam::111122223333:root" }
      Condition = { ArnLike = { "aws:PrincipalArn" = [
        "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Deployers_????????????????",
        "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/*/AWSReservedSSO_Deployers_????????????????",
      ] } }
    }]
    error_message = "The trust is: ${data.aws_iam_policy_document.deploy_trust.json}"
  }
}

run "named_principals_may_assume_the_deploy_role_and_nobody_else" {
  command = plan
  variables {
    sso_permission_set_names = []
    trusted_principal_arns   = ["arn:aws:iam::111122223333:user/anna"]
  }

  assert {
    condition = jsondecode(data.aws_iam_policy_document.deploy_trust.json).Statement == [{
      Sid       = "Principals"
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { AWS = "arn:aws:iam::111122223333:user/anna" }
    }]
    error_message = "The trust is: ${data.aws_iam_policy_document.deploy_trust.json}"
  }
}

run "permission_sets_and_principals_may_be_trusted_side_by_side" {
  command = plan
  variables {
    trusted_principal_arns = ["arn:aws:iam::111122223333:user/anna", "arn:aws:iam::444455556666:root"]
  }

  assert {
    condition = {
      for one in jsondecode(data.aws_iam_policy_document.deploy_trust.json).Statement : one.Sid => toset(flatten([one.Principal.AWS]))
      } == {
      PermissionSets = toset(["arn:aws:iam::111122223333:root"])
      Principals     = toset(["arn:aws:iam::111122223333:user/anna", "arn:aws:iam::444455556666:root"])
    }
    error_message = "The trust is: ${data.aws_iam_policy_document.deploy_trust.json}"
  }
}

run "buckets_refuse_what_does_not_come_over_tls_and_take_access_logs_of_this_prefix_alone" {
  command = plan

  assert {
    condition = alltrue([for name, document in data.aws_iam_policy_document.bucket : contains(jsondecode(document.json).Statement, {
      Sid       = "OnlyOverTls"
      Effect    = "Deny"
      Action    = "s3:*"
      Principal = "*"
      Resource = [
        "arn:aws:s3:::guard-${replace(name, "_", "-")}-111122223333-eu-west-1/*",
        "arn:aws:s3:::guard-${replace(name, "_", "-")}-111122223333-eu-west-1",
      ]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    })])
    error_message = "A bucket may be reached without TLS: ${jsonencode(values(data.aws_iam_policy_document.bucket)[*].json)}"
  }
  assert {
    condition     = alltrue([for name, one in aws_s3_bucket_policy.tls_only : jsondecode(one.policy) == jsondecode(data.aws_iam_policy_document.bucket[name].json)])
    error_message = "A bucket has another policy than its own."
  }

  assert {
    condition = [for one in jsondecode(data.aws_iam_policy_document.bucket["access_logs"].json).Statement : one if one.Effect == "Allow"] == [{
      Sid       = "BucketsOfThisPrefixLog"
      Effect    = "Allow"
      Action    = "s3:PutObject"
      Principal = { Service = "logging.s3.amazonaws.com" }
      Resource  = "arn:aws:s3:::guard-access-logs-111122223333-eu-west-1/*"
      Condition = {
        StringEquals = { "aws:SourceAccount" = "111122223333" }
        ArnLike      = { "aws:SourceArn" = "arn:aws:s3:::guard-*" }
      }
    }]
    error_message = "The policy is: ${data.aws_iam_policy_document.bucket["access_logs"].json}"
  }
  assert {
    condition = alltrue([for name in ["templates", "artifacts"] : alltrue([
      for one in jsondecode(data.aws_iam_policy_document.bucket[name].json).Statement : one.Effect == "Deny"
    ])])
    error_message = "A bucket's own policy lets somebody in."
  }
}

run "roles_are_made_within_the_boundary_and_handed_only_to_the_service_that_they_are_for" {
  command = plan

  assert {
    condition = jsondecode(data.aws_iam_policy_document.service_trust.json).Statement == [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "cloudformation.amazonaws.com" }
      Condition = { StringEqualsIfExists = { "aws:SourceAccount" = "111122223333" } }
    }]
    error_message = "The trust is: ${data.aws_iam_policy_document.service_trust.json}"
  }

  assert {
    condition = {
      for one in jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement : one.Sid => try(one.Condition, null)
      if one.Effect == "Allow" && length(setintersection(flatten([try(one.Action, [])]), ["iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary", "iam:AttachRolePolicy"])) > 0
      } == {
      MakeRolesWithinTheBoundary = { StringEquals = { "iam:PermissionsBoundary" = "arn:aws:iam::111122223333:policy/guard-boundary" } }
    }
    error_message = "Roles may be made without the boundary."
  }
  assert {
    condition     = aws_iam_policy.boundary.name == "guard-boundary"
    error_message = "The boundary is called ${aws_iam_policy.boundary.name}, but the policies name guard-boundary."
  }
  assert {
    condition = alltrue([for action in ["iam:CreatePolicyVersion", "iam:DeletePolicy", "iam:DeletePolicyVersion", "iam:DeleteRolePermissionsBoundary", "iam:SetDefaultPolicyVersion"] : anytrue([
      for one in jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement :
      one.Effect == "Deny" && contains(flatten([try(one.Action, [])]), action) && contains(flatten([one.Resource]), "arn:aws:iam::111122223333:policy/guard-boundary")
    ])])
    error_message = "CloudFormation may change its own boundary."
  }
  assert {
    condition = alltrue([for one in jsondecode(data.aws_iam_policy_document.boundary.json).Statement : alltrue([
      for action in flatten([try(one.Action, [])]) : !startswith(action, "iam:") && !startswith(action, "sts:")
    ])])
    error_message = "A role of the stacks could reach further roles."
  }

  assert {
    condition = toset(flatten([
      for one in jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement : one.Resource
      if one.Effect == "Allow" && one.Sid != "HandCloudFormationItsRole" && anytrue([for action in flatten([try(one.Action, [])]) : startswith(action, "iam:")])
    ])) == toset(["arn:aws:iam::111122223333:role/guard-function", "arn:aws:iam::111122223333:role/guard-trail"])
    error_message = "CloudFormation may reach another role."
  }
  assert {
    condition = contains([for one in jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement : {
      effect = one.Effect, spared = flatten([try(one.NotAction, [])]), where = toset(flatten([one.Resource]))
      }], {
      effect = "Deny"
      spared = ["iam:PassRole"]
      where  = toset(["arn:aws:iam::111122223333:role/guard-deploy", "arn:aws:iam::111122223333:role/guard-cloudformation"])
    })
    error_message = "CloudFormation may change its own role or the deploy role."
  }

  assert {
    condition = {
      for name, document in {
        deploy    = data.aws_iam_policy_document.deploy, boundary = data.aws_iam_policy_document.boundary,
        resources = data.aws_iam_policy_document.service_resources, foundation = data.aws_iam_policy_document.service_foundation,
        } : name => {
        for one in jsondecode(document.json).Statement :
        one.Sid => { where = toset(flatten([one.Resource])), to = toset(flatten([one.Condition.StringEquals["iam:PassedToService"]])) }
        if one.Effect == "Allow" && contains(flatten([try(one.Action, [])]), "iam:PassRole")
      }
      } == {
      deploy = {
        HandCloudFormationItsRole = {
          where = toset(["arn:aws:iam::111122223333:role/guard-cloudformation"])
          to    = toset(["cloudformation.amazonaws.com"])
        }
      }
      boundary  = {}
      resources = {}
      foundation = {
        HandCloudFormationItsRole = {
          where = toset(["arn:aws:iam::111122223333:role/guard-cloudformation"])
          to    = toset(["cloudformation.amazonaws.com"])
        }
        HandRolesToTheirServices = {
          where = toset(["arn:aws:iam::111122223333:role/guard-function", "arn:aws:iam::111122223333:role/guard-trail"])
          to    = toset(["cloudtrail.amazonaws.com", "lambda.amazonaws.com"])
        }
      }
    }
    error_message = "A role may be handed to a service that it is not for."
  }
}

run "rights_end_at_the_resources_of_this_prefix" {
  command = plan

  assert {
    condition = {
      for one in concat([for document in [
        data.aws_iam_policy_document.deploy, data.aws_iam_policy_document.drift, data.aws_iam_policy_document.boundary,
        data.aws_iam_policy_document.service_resources, data.aws_iam_policy_document.service_foundation,
      ] : jsondecode(document.json).Statement]...) : one.Sid => toset(flatten([try(one.Action, [])]))
      if one.Effect == "Allow" && contains(flatten([one.Resource]), "*")
      } == {
      AskForTheResult         = toset(["cloudformation:BatchDescribeTypeConfigurations", "cloudformation:DescribeStackDriftDetectionStatus"])
      Mappings                = toset(["lambda:CreateEventSourceMapping", "lambda:DeleteEventSourceMapping", "lambda:UpdateEventSourceMapping"])
      NameTheAccount          = toset(["iam:ListAccountAliases"])
      ReadWhatKnowsNoResource = toset(["cloudtrail:DescribeTrails", "kms:ListAliases", "logs:DescribeLogGroups", "logs:DescribeResourcePolicies", "sns:GetSubscriptionAttributes"])
      NoResourceLevel = toset([
        "cloudtrail:DescribeTrails", "kms:CreateKey", "kms:ListAliases", "logs:DeleteResourcePolicy", "logs:DescribeLogGroups",
        "logs:DescribeResourcePolicies", "logs:PutResourcePolicy", "sns:GetSubscriptionAttributes", "sns:SetSubscriptionAttributes", "sns:Unsubscribe",
      ])
    }
    error_message = "Something is allowed on all resources."
  }
  assert {
    condition = [
      for one in jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement : one.Condition.ArnLike if one.Sid == "Mappings"
    ] == [{ "lambda:FunctionArn" = "arn:aws:lambda:eu-west-1:111122223333:function:guard-*" }]
    error_message = "Mappings of other functions are within reach."
  }
  assert {
    condition = alltrue([for one in concat([for document in [
      data.aws_iam_policy_document.deploy, data.aws_iam_policy_document.boundary,
      data.aws_iam_policy_document.service_resources, data.aws_iam_policy_document.service_foundation,
    ] : jsondecode(document.json).Statement]...) : one.Effect == "Deny" || alltrue([for action in flatten([try(one.Action, [])]) : !strcontains(action, "*")])])
    error_message = "An action is a wildcard."
  }

  assert {
    condition = {
      for one in concat(jsondecode(data.aws_iam_policy_document.deploy.json).Statement, jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement) :
      one.Sid => one.Condition.StringEquals if contains(["FillTheSecret", "Keys", "TagNewKeys"], one.Sid)
      } == {
      FillTheSecret = { "aws:ResourceTag/signwatch:prefix" = "guard" }
      Keys          = { "aws:ResourceTag/signwatch:prefix" = "guard" }
      TagNewKeys    = { "aws:RequestTag/signwatch:prefix" = "guard" }
    }
    error_message = "Keys or secrets of others are within reach."
  }

  assert {
    condition = {
      for one in concat(jsondecode(data.aws_iam_policy_document.deploy.json).Statement, jsondecode(data.aws_iam_policy_document.boundary.json).Statement) :
      one.Sid => { may = toset(flatten([one.Action])), where = toset(flatten([one.Resource])) } if strcontains(one.Sid, "Networks")
      } == {
      ReadTheNetworks        = { may = toset(["ssm:GetParametersByPath"]), where = toset(["arn:aws:ssm:eu-west-1:111122223333:parameter/guard/networks", "arn:aws:ssm:eu-west-1:111122223333:parameter/guard/networks/*"]) }
      AllowAndRevokeNetworks = { may = toset(["ssm:DeleteParameter", "ssm:PutParameter"]), where = toset(["arn:aws:ssm:eu-west-1:111122223333:parameter/guard/networks/*"]) }
      Networks               = { may = toset(["ssm:GetParametersByPath"]), where = toset(["arn:aws:ssm:eu-west-1:111122223333:parameter/guard/networks", "arn:aws:ssm:eu-west-1:111122223333:parameter/guard/networks/*"]) }
    }
    error_message = "Parameters other than the recognised networks may be written, or the networks not read."
  }
  assert {
    condition = alltrue([for document in [
      data.aws_iam_policy_document.handing_over, data.aws_iam_policy_document.deploy, data.aws_iam_policy_document.service_foundation,
      ] : [for one in jsondecode(document.json).Statement : one if one.Sid == "TagChangeSets"] == [{
        Sid      = "TagChangeSets"
        Effect   = "Allow"
        Action   = "cloudformation:TagResource"
        Resource = "arn:aws:cloudformation:eu-west-1:111122223333:changeSet/*"
    }]])
    error_message = "A change set with tags cannot be made."
  }
  assert {
    condition = [for one in jsondecode(data.aws_iam_policy_document.boundary.json).Statement : one if one.Sid == "Names"] == [{
      Sid      = "Names"
      Effect   = "Allow"
      Action   = "identitystore:DescribeUser"
      Resource = ["arn:aws:identitystore:::user/*", "arn:aws:identitystore::111122223333:identitystore/*"]
    }]
    error_message = "More than the names of this account's people is within reach."
  }
  assert {
    condition = anytrue([
      for one in jsondecode(data.aws_iam_policy_document.service_resources.json).Statement :
      one.Sid == "TrailBucket" && flatten([one.Resource]) == ["arn:aws:s3:::guard-*-trailbucket-*"]
    ])
    error_message = "The pattern names more of the stack than a long prefix leaves of it."
  }
}

run "the_longest_names_leave_each_policy_within_what_iam_takes" {
  command = plan
  variables {
    prefix = "a-prefix-of-20-chars"
    region = "ap-southeast-1"
  }

  # 6,144 characters for a managed policy, 10,240 for what stands in a role, white space not counted (IAM and STS quotas).
  assert {
    condition = alltrue([for document in [
      data.aws_iam_policy_document.boundary, data.aws_iam_policy_document.service_resources, data.aws_iam_policy_document.service_foundation,
    ] : length(document.minified_json) <= 6144])
    error_message = "A managed policy is too long for IAM."
  }
  assert {
    condition     = length(data.aws_iam_policy_document.deploy.minified_json) + length(data.aws_iam_policy_document.drift.minified_json) <= 10240
    error_message = "The deploy role's two policies together are too long for IAM."
  }
}
