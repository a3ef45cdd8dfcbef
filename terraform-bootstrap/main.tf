data "aws_partition" "current" {}

locals {
  buckets = {
    templates   = "${var.prefix}-templates-${var.account_id}-${var.region}"
    artifacts   = "${var.prefix}-artifacts-${var.account_id}-${var.region}"
    access_logs = "${var.prefix}-access-logs-${var.account_id}-${var.region}"
  }
  bucket_arns = { for name, bucket in local.buckets : name => "arn:${local.partition}:s3:::${bucket}" }
}

resource "aws_s3_bucket" "templates" {
  #checkov:skip=CKV_AWS_144:templates are uploaded again from the repository in seconds; a copy elsewhere is not needed
  bucket = local.buckets.templates
}

resource "aws_s3_bucket" "artifacts" {
  #checkov:skip=CKV_AWS_144:zips are built again from the repository; a copy elsewhere is not needed
  bucket = local.buckets.artifacts
}

resource "aws_s3_bucket" "access_logs" {
  #checkov:skip=CKV_AWS_18:this bucket receives the access logs; logging it into itself would never end
  #checkov:skip=CKV_AWS_144:access logs of buckets that can be rebuilt; a copy elsewhere is not needed
  #checkov:skip=CKV_AWS_145:S3 delivers access logs only to buckets encrypted with its own keys (SSE-S3)
  bucket = local.buckets.access_logs
}

locals {
  all_buckets = {
    templates   = aws_s3_bucket.templates.bucket
    artifacts   = aws_s3_bucket.artifacts.bucket
    access_logs = aws_s3_bucket.access_logs.bucket
  }
}

# Sends bucket events to EventBridge, so that a rule can watch changes of templates, zips and logs. AWS charges 1 USD
# for a million of them, even without a rule.
resource "aws_s3_bucket_notification" "changes" {
  for_each    = local.all_buckets
  bucket      = each.value
  eventbridge = true
}

resource "aws_s3_bucket_ownership_controls" "no_acls" {
  for_each = local.all_buckets
  bucket   = each.value
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "private" {
  for_each                = local.all_buckets
  bucket                  = each.value
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "old_versions" {
  for_each = local.all_buckets
  bucket   = each.value
  versioning_configuration {
    status = "Enabled"
  }
}

# The AWS-managed key of S3 is free and usable by everyone in the account who may read the object, including
# CloudFormation and Lambda.
resource "aws_s3_bucket_server_side_encryption_configuration" "encrypted" {
  for_each = local.all_buckets
  bucket   = each.value
  rule {
    bucket_key_enabled = each.key != "access_logs"
    apply_server_side_encryption_by_default {
      sse_algorithm = each.key == "access_logs" ? "AES256" : "aws:kms"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "old_versions" {
  for_each = var.old_version_days > 0 ? local.all_buckets : {}
  bucket   = each.value
  rule {
    id     = "drop-old-versions"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = var.old_version_days
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
  depends_on = [aws_s3_bucket_versioning.old_versions]
}

data "aws_iam_policy_document" "bucket" {
  for_each = local.bucket_arns

  statement {
    sid       = "OnlyOverTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [each.value, "${each.value}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  dynamic "statement" {
    for_each = each.key == "access_logs" ? ["access logs"] : []
    content {
      sid       = "BucketsOfThisPrefixLog"
      actions   = ["s3:PutObject"]
      resources = ["${each.value}/*"]
      principals {
        type        = "Service"
        identifiers = ["logging.s3.amazonaws.com"]
      }
      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [var.account_id]
      }
      condition {
        test     = "ArnLike"
        variable = "aws:SourceArn"
        values   = ["arn:${local.partition}:s3:::${var.prefix}-*"]
      }
    }
  }
}

resource "aws_s3_bucket_policy" "tls_only" {
  for_each   = local.all_buckets
  bucket     = each.value
  policy     = data.aws_iam_policy_document.bucket[each.key].json
  depends_on = [aws_s3_bucket_public_access_block.private]
}

resource "aws_s3_bucket_logging" "templates" {
  bucket        = aws_s3_bucket.templates.bucket
  target_bucket = aws_s3_bucket.access_logs.bucket
  target_prefix = "templates/"
  depends_on    = [aws_s3_bucket_policy.tls_only] # S3 checks the permission to write before it logs
}

resource "aws_s3_bucket_logging" "artifacts" {
  bucket        = aws_s3_bucket.artifacts.bucket
  target_bucket = aws_s3_bucket.access_logs.bucket
  target_prefix = "artifacts/"
  depends_on    = [aws_s3_bucket_policy.tls_only] # S3 checks the permission to write before it logs
}

# The names that version 0.1.0 had.
moved {
  from = aws_s3_bucket_versioning.kept
  to   = aws_s3_bucket_versioning.old_versions
}

moved {
  from = aws_s3_bucket_ownership_controls.enforced
  to   = aws_s3_bucket_ownership_controls.no_acls
}
