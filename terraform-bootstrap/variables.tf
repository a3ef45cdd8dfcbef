variable "account_id" {
  description = "The AWS account, twelve digits, in which everything is created."
  type        = string
  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must be the 12 digits of an AWS account."
  }
}

variable "region" {
  description = "The home Region, with the buckets and the stack."
  type        = string
  default     = "us-east-1"
  validation {
    condition     = can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be the name of a Region, such as eu-west-1."
  }
}

variable "prefix" {
  description = "The name of the stack and the beginning of every other name."
  type        = string
  default     = "signwatch"
  validation {
    condition     = can(regex("^[a-z](-?[a-z0-9]){2,19}$", var.prefix)) && length(var.prefix) <= 20
    error_message = "prefix must have 3 to 20 lower-case letters, digits and single hyphens, and begin with a letter."
  }
  validation {
    # SSM refuses parameter names that begin with the first two (Systems Manager API, "PutParameter"), S3 bucket names
    # that begin with the others (user guide, "General purpose bucket naming rules").
    condition     = !can(regex("^(aws|ssm|sthree|amzn-s3-demo)", var.prefix))
    error_message = "prefix must not begin with aws, ssm, sthree or amzn-s3-demo, which AWS reserves."
  }
}

variable "sso_permission_set_names" {
  description = "The Identity Center permission sets of this account whose users may deploy."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for name in var.sso_permission_set_names : can(regex("^[\\w+=,.@-]{1,32}$", name))])
    error_message = "sso_permission_set_names must be plain names of permission sets, without wildcards."
  }
}

variable "trusted_principal_arns" {
  description = "The ARNs of other IAM users, roles or account roots that may deploy."
  type        = list(string)
  default     = []
  validation {
    condition = alltrue([
      for arn in var.trusted_principal_arns :
      can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(root|(user|role)/[A-Za-z0-9+=,.@_/-]+)$", arn))
    ])
    error_message = "trusted_principal_arns must be ARNs of IAM users, roles or account roots, without wildcards."
  }
  validation {
    condition = anytrue([
      length(var.sso_permission_set_names) > 0,
      length(var.trusted_principal_arns) > 0,
      var.github_repository != "",
    ])
    error_message = "Set sso_permission_set_names, trusted_principal_arns or github_repository, or nobody may deploy."
  }
}

variable "old_version_days" {
  description = "Days after which old versions of objects are deleted; 0 keeps them for ever."
  type        = number
  default     = 90
  validation {
    condition     = var.old_version_days >= 0 && floor(var.old_version_days) == var.old_version_days
    error_message = "old_version_days must be a whole number, 0 or more."
  }
}

variable "trail_log_group_name" {
  description = "The log group of the account's existing trail, which the stacks may filter and read; empty: none."
  type        = string
  default     = ""
  validation {
    # CloudWatch Logs allows 512 characters; a policy of the service role has room for fewer.
    condition     = can(regex("^[A-Za-z0-9._/#-]{0,200}$", var.trail_log_group_name))
    error_message = "trail_log_group_name must be the name of one log group, at most 200 characters, not its ARN."
  }
}

variable "github_repository" {
  description = "The GitHub repository, ORG/REPO as GitHub spells it, whose workflows get roles; empty: none."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([A-Za-z0-9_-]{1,39}/[A-Za-z0-9._-]{1,100})?$", var.github_repository))
    error_message = "github_repository must be one repository by name, such as ORG/REPO, without wildcards."
  }
  validation {
    # GitHub takes it off the end of a name, so no workflow would match.
    condition     = !endswith(var.github_repository, ".git")
    error_message = "github_repository must be written ORG/REPO, without .git at the end."
  }
}

variable "github_subject_form" {
  description = "The form of GitHub's subject: immutable, or classic if created before 15 July 2026 and never renamed."
  type        = string
  default     = "immutable"
  validation {
    condition     = contains(["immutable", "classic"], var.github_subject_form)
    error_message = "github_subject_form must be immutable or classic."
  }
}

variable "github_owner_id" {
  description = "The id of the repository's owner, a number; required for the immutable form."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([1-9][0-9]*)?$", var.github_owner_id))
    error_message = "github_owner_id must be a number, without wildcards."
  }
  validation {
    condition = anytrue([
      var.github_repository == "",
      var.github_subject_form != "immutable",
      var.github_owner_id != "",
    ])
    error_message = "github_owner_id is required for the immutable form: gh api repos/ORG/REPO --jq .owner.id"
  }
}

variable "github_repository_id" {
  description = "The id of the repository, a number; required for the immutable form."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([1-9][0-9]*)?$", var.github_repository_id))
    error_message = "github_repository_id must be a number, without wildcards."
  }
  validation {
    condition = anytrue([
      var.github_repository == "",
      var.github_subject_form != "immutable",
      var.github_repository_id != "",
    ])
    error_message = "github_repository_id is required for the immutable form: gh api repos/ORG/REPO --jq .id"
  }
}

variable "github_environment" {
  description = "The protected environment of the repository that may deploy."
  type        = string
  default     = "production"
  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{1,255}$", var.github_environment))
    error_message = "github_environment must be one name of letters, digits, full stops, hyphens and underscores."
  }
}

variable "github_oidc_provider_arn" {
  description = "The ARN of the account's existing OIDC provider for GitHub; empty: it is created here."
  type        = string
  default     = ""
  validation {
    condition = var.github_oidc_provider_arn == "" || can(regex(
      "^arn:aws[a-z-]*:iam::${var.account_id}:oidc-provider/token\\.actions\\.githubusercontent\\.com$",
      var.github_oidc_provider_arn
    ))
    error_message = "github_oidc_provider_arn must be this account's provider for token.actions.githubusercontent.com."
  }
}
