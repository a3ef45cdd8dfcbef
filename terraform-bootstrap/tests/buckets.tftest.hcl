mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\": \"2012-10-17\", \"Statement\": []}" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::111122223333:policy/guard-mocked" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/guard-mocked" }
  }
}

variables {
  account_id               = "111122223333"
  region                   = "eu-west-1"
  prefix                   = "guard"
  sso_permission_set_names = ["Deployers"]
}

run "each_bucket_is_versioned_private_owned_by_the_account_encrypted_and_logged" {
  assert {
    condition = {
      for name, versioning in aws_s3_bucket_versioning.old_versions :
      name => [versioning.bucket, versioning.versioning_configuration[0].status]
    } == { for name, id in local.all_buckets : name => [id, "Enabled"] }
    error_message = "A bucket does not keep old versions."
  }
  assert {
    condition = {
      for name, notification in aws_s3_bucket_notification.changes :
      name => [notification.bucket, notification.eventbridge]
    } == { for name, id in local.all_buckets : name => [id, true] }
    error_message = "A bucket sends no events to EventBridge."
  }
  assert {
    condition = {
      for name, controls in aws_s3_bucket_ownership_controls.no_acls :
      name => [controls.bucket, controls.rule[0].object_ownership]
    } == { for name, id in local.all_buckets : name => [id, "BucketOwnerEnforced"] }
    error_message = "Objects in a bucket may have other owners."
  }
  assert {
    condition = {
      for name, block in aws_s3_bucket_public_access_block.private : name => [
        block.bucket,
        block.block_public_acls,
        block.block_public_policy,
        block.ignore_public_acls,
        block.restrict_public_buckets,
      ]
    } == { for name, id in local.all_buckets : name => [id, true, true, true, true] }
    error_message = "A bucket can be made public."
  }
  assert {
    condition     = length(local.all_buckets) == 3
    error_message = "There are more or fewer buckets."
  }
  assert {
    condition     = { for name, policy in aws_s3_bucket_policy.tls_only : name => policy.bucket } == local.all_buckets
    error_message = "A bucket has no policy."
  }

  assert {
    condition = {
      for name, encryption in aws_s3_bucket_server_side_encryption_configuration.encrypted :
      name => one(encryption.rule).apply_server_side_encryption_by_default[0].sse_algorithm
    } == { templates = "aws:kms", artifacts = "aws:kms", access_logs = "AES256" }
    error_message = "A bucket is encrypted in another way."
  }

  assert {
    condition = [
      for logging in [aws_s3_bucket_logging.templates, aws_s3_bucket_logging.artifacts] :
      [logging.bucket, logging.target_bucket, logging.target_prefix]
      ] == [
      [aws_s3_bucket.templates.bucket, aws_s3_bucket.access_logs.bucket, "templates/"],
      [aws_s3_bucket.artifacts.bucket, aws_s3_bucket.access_logs.bucket, "artifacts/"],
    ]
    error_message = "A bucket's accesses are not logged."
  }
}

run "old_versions_are_deleted_after_the_configured_days" {
  variables {
    old_version_days = 30
  }
  assert {
    condition = {
      for name, lifecycle in aws_s3_bucket_lifecycle_configuration.old_versions : name => [
        lifecycle.bucket,
        lifecycle.rule[0].status,
        tostring(lifecycle.rule[0].noncurrent_version_expiration[0].noncurrent_days),
      ]
    } == { for name, id in local.all_buckets : name => [id, "Enabled", "30"] }
    error_message = "Old versions are kept for another number of days."
  }
  assert {
    condition = alltrue([
      for lifecycle in aws_s3_bucket_lifecycle_configuration.old_versions : length(lifecycle.rule[0].expiration) == 0
    ])
    error_message = "Current versions would be deleted too."
  }
}

run "old_versions_are_kept_at_0_days_and_the_longest_names_fit_s3" {
  command = plan
  variables {
    old_version_days = 0
    prefix           = "a-prefix-of-20-chars"
    region           = "ap-southeast-1"
  }
  assert {
    condition     = alltrue([for name in values(local.buckets) : length(name) <= 63])
    error_message = "A bucket's name is longer than 63 characters."
  }
  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.old_versions) == 0
    error_message = "Old versions are deleted."
  }
}

run "everything_is_named_after_the_prefix_and_ssm_has_the_same_values_as_the_outputs" {
  assert {
    condition = { for parameter in aws_ssm_parameter.contract : parameter.name => nonsensitive(parameter.value) } == {
      "/guard/bootstrap/template_bucket_name"    = output.template_bucket_name
      "/guard/bootstrap/artifact_bucket_name"    = output.artifact_bucket_name
      "/guard/bootstrap/access_log_bucket_name"  = output.access_log_bucket_name
      "/guard/bootstrap/deploy_role_arn"         = output.deploy_role_arn
      "/guard/bootstrap/service_role_arn"        = output.service_role_arn
      "/guard/bootstrap/boundary_policy_arn"     = output.boundary_policy_arn
      "/guard/bootstrap/existing_log_group_name" = "(none)"
    }
    error_message = "The contract and the outputs differ."
  }
  assert {
    condition     = alltrue([for parameter in aws_ssm_parameter.contract : parameter.type == "String"])
    error_message = "A parameter needs a KMS key, which a new account may not have."
  }

  assert {
    condition = [aws_s3_bucket.templates.bucket, aws_s3_bucket.artifacts.bucket, aws_s3_bucket.access_logs.bucket] == [
      "guard-templates-111122223333-eu-west-1",
      "guard-artifacts-111122223333-eu-west-1",
      "guard-access-logs-111122223333-eu-west-1",
    ]
    error_message = "A bucket has another name."
  }
  assert {
    condition = [aws_iam_role.deploy.name, aws_iam_role.service.name, aws_iam_policy.boundary.name] == [
      "guard-deploy", "guard-cloudformation", "guard-boundary",
    ]
    error_message = "A role or policy has another name."
  }
  assert {
    condition = [aws_iam_policy.service_resources.name, aws_iam_policy.service_foundation.name] == [
      "guard-cloudformation-resources", "guard-cloudformation-foundation",
    ]
    error_message = "A role or policy has another name."
  }
  assert {
    condition = [for attachment in aws_iam_role_policy_attachment.service : attachment.role] == [
      "guard-cloudformation", "guard-cloudformation",
    ]
    error_message = "The service role has not its two policies."
  }
}
