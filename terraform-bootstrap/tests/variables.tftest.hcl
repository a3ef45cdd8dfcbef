# Each variable refuses values that would fail later or deploy to the wrong place. A test file of Terraform cannot read
# error messages, so tests/tooling/test_terraform.py checks those.
mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\": \"2012-10-17\", \"Statement\": []}" }
  }
}

variables {
  account_id               = "111122223333"
  sso_permission_set_names = ["Deployers"]
}

run "a_hyphenated_account_a_city_capitals_wildcards_and_negative_days_are_refused" {
  command = plan
  variables {
    account_id               = "1111-2222-3333"
    region                   = "Frankfurt"
    prefix                   = "Signwatch"
    sso_permission_set_names = ["*"]
    old_version_days         = -1
  }
  expect_failures = [
    var.account_id, var.region, var.prefix, var.sso_permission_set_names, var.old_version_days,
  ]
}

run "double_hyphens_wildcards_in_arns_and_fractions_of_days_are_refused" {
  command = plan
  variables {
    prefix                 = "sign--watch"
    trusted_principal_arns = ["arn:aws:iam::111122223333:role/*"]
    old_version_days       = 1.5
  }
  expect_failures = [var.prefix, var.trusted_principal_arns, var.old_version_days]
}

run "prefixes_that_ssm_or_s3_reserve_are_refused" {
  command = plan
  variables {
    prefix = "ssm-watch"
  }
  expect_failures = [var.prefix]
}

run "every_character_of_a_permission_sets_name_is_accepted" {
  command = plan
  variables {
    sso_permission_set_names = ["Deploy_All", "a+b=c,d.e@f-g"]
  }
  assert {
    condition     = length(local.sso_role_arns) == 4
    error_message = "The ARNs are: ${jsonencode(local.sso_role_arns)}"
  }
}

run "a_long_prefix_and_nobody_who_may_deploy_are_refused" {
  command = plan
  variables {
    prefix                   = "a-prefix-of-21-letter"
    sso_permission_set_names = []
  }
  expect_failures = [var.prefix, var.trusted_principal_arns]
}
