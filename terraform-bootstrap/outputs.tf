locals {
  contract = {
    template_bucket_name   = aws_s3_bucket.templates.bucket
    artifact_bucket_name   = aws_s3_bucket.artifacts.bucket
    access_log_bucket_name = aws_s3_bucket.access_logs.bucket
    deploy_role_arn        = aws_iam_role.deploy.arn
    service_role_arn       = aws_iam_role.service.arn
    boundary_policy_arn    = aws_iam_policy.boundary.arn
    # SSM stores no empty value, and no log group is called this.
    existing_log_group_name = coalesce(var.trail_log_group_name, "(none)")
  }
}

# The outputs again, readable without the state: a second machine and CI deploy with them.
resource "aws_ssm_parameter" "contract" {
  #checkov:skip=CKV2_AWS_34:names and ARNs, nothing secret; a new account may not have the key alias/aws/ssm yet
  for_each = local.contract
  name     = "/${var.prefix}/bootstrap/${each.key}"
  type     = "String"
  value    = each.value
}

output "template_bucket_name" {
  description = "The bucket that holds the templates."
  value       = local.contract.template_bucket_name
}

output "artifact_bucket_name" {
  description = "The bucket that holds the zips."
  value       = local.contract.artifact_bucket_name
}

output "access_log_bucket_name" {
  description = "The bucket that receives the access logs."
  value       = local.contract.access_log_bucket_name
}

output "deploy_role_arn" {
  description = "The role that deploys."
  value       = local.contract.deploy_role_arn
}

output "service_role_arn" {
  description = "The role that CloudFormation acts as."
  value       = local.contract.service_role_arn
}

output "boundary_policy_arn" {
  description = "The permissions boundary of every role that the stacks create."
  value       = local.contract.boundary_policy_arn
}

output "existing_log_group_name" {
  description = "The log group of an existing trail that the roles may filter and read; (none) without one."
  value       = local.contract.existing_log_group_name
}
