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
}

run "users_of_a_permission_set_may_assume_the_deploy_role_in_both_forms_of_its_path" {
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

run "named_principals_alone_may_assume_the_deploy_role" {
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

run "permission_sets_and_principals_may_be_trusted_together" {
  command = plan
  variables {
    trusted_principal_arns = ["arn:aws:iam::111122223333:user/anna", "arn:aws:iam::444455556666:root"]
  }

  assert {
    condition = {
      for statement in jsondecode(data.aws_iam_policy_document.deploy_trust.json).Statement :
      statement.Sid => toset(flatten([statement.Principal.AWS]))
      } == {
      PermissionSets = toset(["arn:aws:iam::111122223333:root"])
      Principals     = toset(["arn:aws:iam::111122223333:user/anna", "arn:aws:iam::444455556666:root"])
    }
    error_message = "The trust is: ${data.aws_iam_policy_document.deploy_trust.json}"
  }
}

run "buckets_require_tls_and_accept_access_logs_of_this_prefix_alone" {
  command = plan

  assert {
    condition = alltrue([
      for name, document in data.aws_iam_policy_document.bucket : contains(jsondecode(document.json).Statement, {
        Sid       = "OnlyOverTls"
        Effect    = "Deny"
        Action    = "s3:*"
        Principal = "*"
        Resource = [
          "arn:aws:s3:::guard-${replace(name, "_", "-")}-111122223333-eu-west-1/*",
          "arn:aws:s3:::guard-${replace(name, "_", "-")}-111122223333-eu-west-1",
        ]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      })
    ])
    error_message = "A bucket may be reached without TLS: ${jsonencode(data.aws_iam_policy_document.bucket)}"
  }
  assert {
    condition = alltrue([
      for name, bucket in aws_s3_bucket_policy.tls_only :
      jsondecode(bucket.policy) == jsondecode(data.aws_iam_policy_document.bucket[name].json)
    ])
    error_message = "A bucket has another bucket's policy."
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.bucket["access_logs"].json).Statement :
      statement if statement.Effect == "Allow"
      ] == [{
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
    condition = alltrue(flatten([for name in ["templates", "artifacts"] : [
      for statement in jsondecode(data.aws_iam_policy_document.bucket[name].json).Statement : statement.Effect == "Deny"
    ]]))
    error_message = "A bucket's own policy allows access."
  }
}

run "roles_have_the_boundary_and_are_passed_only_to_their_service" {
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
      for statement in jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement :
      statement.Sid => try(statement.Condition, null)
      if statement.Effect == "Allow" && length(setintersection(flatten([try(statement.Action, [])]), [
        "iam:AttachRolePolicy",
        "iam:CreateRole",
        "iam:DeleteRolePolicy",
        "iam:PutRolePermissionsBoundary",
        "iam:PutRolePolicy",
      ])) > 0
      } == {
      MakeRolesWithinTheBoundary = {
        StringEquals = { "iam:PermissionsBoundary" = "arn:aws:iam::111122223333:policy/guard-boundary" }
      }
    }
    error_message = "Roles may be created without the boundary."
  }
  assert {
    condition     = aws_iam_policy.boundary.name == "guard-boundary"
    error_message = "The boundary is called ${aws_iam_policy.boundary.name}, but the policies name guard-boundary."
  }
  assert {
    condition = length(setsubtract(
      [
        "iam:CreatePolicyVersion",
        "iam:DeletePolicy",
        "iam:DeletePolicyVersion",
        "iam:DeleteRolePermissionsBoundary",
        "iam:SetDefaultPolicyVersion",
      ],
      flatten([
        for statement in jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement :
        try(statement.Action, []) if statement.Effect == "Deny"
        && contains(flatten([statement.Resource]), "arn:aws:iam::111122223333:policy/guard-boundary")
      ])
    )) == 0
    error_message = "CloudFormation may change its own boundary."
  }
  assert {
    condition = alltrue([
      for action in flatten(jsondecode(data.aws_iam_policy_document.boundary.json).Statement[*].Action) :
      !startswith(action, "iam:") && !startswith(action, "sts:")
    ])
    error_message = "A role of the stacks could use other roles."
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement : statement.Resource
      if statement.Effect == "Allow" && statement.Sid != "HandCloudFormationItsRole" && anytrue([
        for action in flatten([try(statement.Action, [])]) : startswith(action, "iam:")
      ])
    ])) == toset([for name in ["forwarder", "function", "trail"] : "arn:aws:iam::111122223333:role/guard-${name}"])
    error_message = "CloudFormation has rights on another role."
  }
  assert {
    condition = contains([
      for statement in jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement : {
        effect      = statement.Effect
        not_actions = flatten([try(statement.NotAction, [])])
        resources   = toset(flatten([statement.Resource]))
      }
      ], {
      effect      = "Deny"
      not_actions = ["iam:PassRole"]
      resources = toset([
        "arn:aws:iam::111122223333:role/guard-deploy",
        "arn:aws:iam::111122223333:role/guard-cloudformation",
      ])
    })
    error_message = "CloudFormation may change its own role or the deploy role."
  }

  assert {
    condition = {
      for name, document in {
        deploy     = data.aws_iam_policy_document.deploy
        boundary   = data.aws_iam_policy_document.boundary
        resources  = data.aws_iam_policy_document.service_resources
        foundation = data.aws_iam_policy_document.service_foundation
        } : name => {
        for statement in jsondecode(document.json).Statement : statement.Sid => {
          roles    = toset(flatten([statement.Resource]))
          services = toset(flatten([statement.Condition.StringEquals["iam:PassedToService"]]))
        }
        if statement.Effect == "Allow" && contains(flatten([try(statement.Action, [])]), "iam:PassRole")
      }
      } == {
      deploy = {
        HandCloudFormationItsRole = {
          roles    = toset(["arn:aws:iam::111122223333:role/guard-cloudformation"])
          services = toset(["cloudformation.amazonaws.com"])
        }
      }
      boundary  = {}
      resources = {}
      foundation = {
        HandCloudFormationItsRole = {
          roles    = toset(["arn:aws:iam::111122223333:role/guard-cloudformation"])
          services = toset(["cloudformation.amazonaws.com"])
        }
        HandRolesToTheirServices = {
          roles = toset([
            "arn:aws:iam::111122223333:role/guard-forwarder",
            "arn:aws:iam::111122223333:role/guard-function",
            "arn:aws:iam::111122223333:role/guard-trail",
          ])
          services = toset(["cloudtrail.amazonaws.com", "events.amazonaws.com", "lambda.amazonaws.com"])
        }
      }
    }
    error_message = "A role may be passed to a service that it is not for."
  }
}

run "rights_are_limited_to_the_resources_of_this_prefix" {
  command = plan

  assert {
    condition = {
      for statement in concat([for document in [
        data.aws_iam_policy_document.deploy,
        data.aws_iam_policy_document.drift,
        data.aws_iam_policy_document.boundary,
        data.aws_iam_policy_document.service_resources,
        data.aws_iam_policy_document.service_foundation,
      ] : jsondecode(document.json).Statement]...) : statement.Sid => toset(flatten([try(statement.Action, [])]))
      if statement.Effect == "Allow" && contains(flatten([statement.Resource]), "*")
      } == {
      AskForTheResult = toset([
        "cloudformation:BatchDescribeTypeConfigurations",
        "cloudformation:DescribeStackDriftDetectionStatus",
      ])
      ListTrails     = toset(["cloudtrail:DescribeTrails"])
      LookForRegions = toset(["ec2:DescribeRegions", "sso:ListInstances"])
      Mappings = toset([
        "lambda:CreateEventSourceMapping",
        "lambda:DeleteEventSourceMapping",
        "lambda:UpdateEventSourceMapping",
      ])
      NameTheAccount = toset(["iam:ListAccountAliases"])
      ReadWhatKnowsNoResource = toset([
        "cloudtrail:DescribeTrails",
        "kms:ListAliases",
        "logs:DescribeIndexPolicies",
        "logs:DescribeLogGroups",
        "logs:DescribeResourcePolicies",
        "sns:GetSubscriptionAttributes",
      ])
      NoResourceLevel = toset([
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
      ])
    }
    error_message = "Something is allowed on all resources."
  }
  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement :
      statement.Condition.ArnLike if statement.Sid == "Mappings"
    ] == [{ "lambda:FunctionArn" = "arn:aws:lambda:eu-west-1:111122223333:function:guard-*" }]
    error_message = "Mappings of other functions may be changed."
  }
  assert {
    condition = alltrue(flatten([
      for statement in concat([for document in [
        data.aws_iam_policy_document.deploy,
        data.aws_iam_policy_document.boundary,
        data.aws_iam_policy_document.service_resources,
        data.aws_iam_policy_document.service_foundation,
      ] : jsondecode(document.json).Statement]...) :
      [for action in flatten([try(statement.Action, [])]) : !strcontains(action, "*")] if statement.Effect == "Allow"
    ]))
    error_message = "An action is a wildcard."
  }

  assert {
    condition = {
      for statement in concat(
        jsondecode(data.aws_iam_policy_document.deploy.json).Statement,
        jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement,
      ) :
      statement.Sid => statement.Condition
      if contains(["FillTheSecret", "TagNewKeys"], statement.Sid)
      } == {
      FillTheSecret = { StringEquals = { "aws:ResourceTag/signwatch:prefix" = "guard" } }
      TagNewKeys = {
        StringEquals = { "aws:RequestTag/signwatch:prefix" = "guard" }
        Null         = { "aws:ResourceTag/signwatch:prefix" = "true" }
      }
    }
    error_message = "Keys or secrets of others may be used."
  }

  assert {
    condition = {
      for statement in concat(
        jsondecode(data.aws_iam_policy_document.deploy.json).Statement,
        jsondecode(data.aws_iam_policy_document.boundary.json).Statement,
      ) :
      statement.Sid => [toset(flatten([statement.Action])), toset(flatten([statement.Resource]))]
      if strcontains(statement.Sid, "Networks")
      } == {
      ReadTheNetworks = [toset(["ssm:GetParametersByPath"]), toset([
        "arn:aws:ssm:eu-west-1:111122223333:parameter/guard/networks",
        "arn:aws:ssm:eu-west-1:111122223333:parameter/guard/networks/*",
      ])]
      AllowAndRevokeNetworks = [toset(["ssm:DeleteParameter", "ssm:PutParameter"]), toset([
        "arn:aws:ssm:eu-west-1:111122223333:parameter/guard/networks/*",
      ])]
      Networks = [toset(["ssm:GetParametersByPath"]), toset([
        "arn:aws:ssm:eu-west-1:111122223333:parameter/guard/networks",
        "arn:aws:ssm:eu-west-1:111122223333:parameter/guard/networks/*",
      ])]
    }
    error_message = "Parameters other than the allowances may be written, or the allowances may not be read."
  }
  assert {
    condition = alltrue([for region, documents in {
      "*"       = [data.aws_iam_policy_document.change_set_preparation, data.aws_iam_policy_document.deploy]
      eu-west-1 = [data.aws_iam_policy_document.service_foundation]
      } : alltrue([for document in documents :
        [for statement in jsondecode(document.json).Statement : statement if statement.Sid == "TagChangeSets"] == [{
          Sid      = "TagChangeSets"
          Effect   = "Allow"
          Action   = "cloudformation:TagResource"
          Resource = "arn:aws:cloudformation:${region}:111122223333:changeSet/*"
    }]])])
    error_message = "A change set with tags cannot be created, or CloudFormation may tag those of other Regions."
  }
  assert {
    condition = {
      for statement in concat(
        jsondecode(data.aws_iam_policy_document.service_resources.json).Statement,
        jsondecode(data.aws_iam_policy_document.service_foundation.json).Statement,
        jsondecode(data.aws_iam_policy_document.boundary.json).Statement,
      ) : statement.Sid => toset(flatten([statement.Resource]))
      if anytrue([for action in flatten([try(statement.Action, [])]) :
      endswith(action, "EventBus") || action == "events:PutEvents"])
      } == {
      Bus               = toset(["arn:aws:events:eu-west-1:111122223333:event-bus/guard-*"])
      ReadTheDefaultBus = toset(["arn:aws:events:eu-west-1:111122223333:event-bus/default"])
      Forwarders = toset([
        "arn:aws:events:eu-west-1:111122223333:event-bus/default",
        "arn:aws:events:eu-west-1:111122223333:event-bus/guard-*",
      ])
    }
    error_message = "A bus of somebody else may be changed or sent to."
  }
  assert {
    condition = alltrue([for document in [
      data.aws_iam_policy_document.deploy,
      data.aws_iam_policy_document.github_preview,
      ] : [for statement in jsondecode(document.json).Statement : statement if statement.Sid == "DescribeChangeSets"] == [{
        Sid    = "DescribeChangeSets"
        Effect = "Allow"
        Action = ["cloudformation:DescribeEvents", "cloudformation:DescribeChangeSet"]
        Resource = [
          "arn:aws:cloudformation:eu-west-1:111122223333:stack/guard/*",
          "arn:aws:cloudformation:eu-west-1:111122223333:stack/guard-*/*",
          "arn:aws:cloudformation:*:111122223333:stack/guard-forwarder/*",
          "arn:aws:cloudformation:*:111122223333:changeSet/*",
        ]
    }]])
    error_message = "A change set, nested ones too, or its failed validations cannot be described."
  }
  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.boundary.json).Statement :
      statement if statement.Sid == "Names"
      ] == [{
        Sid      = "Names"
        Effect   = "Allow"
        Action   = "identitystore:DescribeUser"
        Resource = ["arn:aws:identitystore:::user/*", "arn:aws:identitystore::111122223333:identitystore/*"]
    }]
    error_message = "More than the users of this account's identity stores may be read."
  }
  assert {
    condition = {
      for statement in jsondecode(data.aws_iam_policy_document.boundary.json).Statement :
      statement.Sid => [statement.Action, statement.Resource, statement.Condition]
      if contains([for action in flatten([statement.Action]) : startswith(action, "kms:")], true)
      } == {
      Keys = ["kms:Decrypt", "arn:aws:kms:eu-west-1:111122223333:key/*", {
        StringEquals = {
          "kms:ViaService" = ["dynamodb.eu-west-1.amazonaws.com", "secretsmanager.eu-west-1.amazonaws.com"]
        }
      }]
      IdentityStoreKey = ["kms:Decrypt", "arn:aws:kms:*:*:key/*", {
        StringLike = { "kms:ViaService" = "identitystore.*.amazonaws.com" }
      }]
    }
    error_message = "A role of the stacks could use other keys, or use keys in another way."
  }
  assert {
    condition = anytrue([
      for statement in jsondecode(data.aws_iam_policy_document.service_resources.json).Statement :
      statement.Sid == "TrailBucket" && flatten([statement.Resource]) == ["arn:aws:s3:::guard-*-trailbucket-*"]
    ])
    error_message = "The pattern does not match the trail's bucket of a long prefix."
  }
}

run "with_the_longest_names_each_policy_fits_the_quota_of_iam" {
  command = plan
  variables {
    prefix = "a-prefix-of-20-chars"
    region = "ap-southeast-1"
  }

  # IAM and STS quotas, without white space: 6,144 characters a managed policy, 10,240 for a role's inline policies.
  assert {
    condition = alltrue([for document in [
      data.aws_iam_policy_document.boundary,
      data.aws_iam_policy_document.service_resources,
      data.aws_iam_policy_document.service_foundation,
    ] : length(document.minified_json) <= 6144])
    error_message = "A managed policy is too long for IAM."
  }
  assert {
    condition = sum([
      length(data.aws_iam_policy_document.deploy.minified_json),
      length(data.aws_iam_policy_document.drift.minified_json),
    ]) <= 10240
    error_message = "The deploy role's two inline policies are too long for IAM."
  }
}
