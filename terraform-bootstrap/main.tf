data "aws_partition" "current" {}

locals {
  buckets = {
    templates   = "${var.prefix}-templates-${var.account_id}-${var.region}"
    artifacts   = "${var.prefix}-artifacts-${var.account_id}-${var.region}"
    access_logs = "${var.prefix}-access-logs-${var.account_id}-${var.region}"
  }
  bucket_arns = { for name, bucket in local.buckets : name => "arn:${data.aws_partition.current.partition}:s3:::${bucket}" }
}

resource "aws_s3_bucket" "templates" {
  #checkov:skip=CKV_AWS_144:templates are made again from the repository in seconds; a copy in another Region serves nobody
  bucket = local.buckets.templates
}

resource "aws_s3_bucket" "artifacts" {
  #checkov:skip=CKV_AWS_144:zips are made again from the repository, byte for byte; a copy in another Region serves nobody
  bucket = local.buckets.artifacts
}

resource "aws_s3_bucket" "access_logs" {
  #checkov:skip=CKV_AWS_18:this bucket takes the access logs; logging itself into itself never ends
  #checkov:skip=CKV_AWS_144:access logs of rebuildable buckets; a copy in another Region serves nobody
  #checkov:skip=CKV_AWS_145:S3 delivers access logs only to buckets encrypted with its own keys (SSE-S3)
  bucket = local.buckets.access_logs
}

locals {
  all_buckets = {
    templates   = aws_s3_bucket.templates.id
    artifacts   = aws_s3_bucket.artifacts.id
    access_logs = aws_s3_bucket.access_logs.id
  }
}

# A rule of yours can watch who changes a template, a zip or a log; without a rule it costs nothing and tells nobody.
resource "aws_s3_bucket_notification" "changes" {
  for_each    = local.all_buckets
  bucket      = each.value
  eventbridge = true
}

resource "aws_s3_bucket_ownership_controls" "enforced" {
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

resource "aws_s3_bucket_versioning" "kept" {
  for_each = local.all_buckets
  bucket   = each.value
  versioning_configuration {
    status = "Enabled"
  }
}

# The AWS-managed key of S3: free, and open to whoever in this account may read the object, CloudFormation and Lambda included.
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
  depends_on = [aws_s3_bucket_versioning.kept]
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
        values   = ["arn:${data.aws_partition.current.partition}:s3:::${var.prefix}-*"]
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
  bucket        = aws_s3_bucket.templates.id
  target_bucket = aws_s3_bucket.access_logs.id
  target_prefix = "templates/"
  depends_on    = [aws_s3_bucket_policy.tls_only] # S3 asks for the right to write before it logs
}

resource "aws_s3_bucket_logging" "artifacts" {
  bucket        = aws_s3_bucket.artifacts.id
  target_bucket = aws_s3_bucket.access_logs.id
  target_prefix = "artifacts/"
  depends_on    = [aws_s3_bucket_policy.tls_only] # S3 asks for the right to write before it logs
}
