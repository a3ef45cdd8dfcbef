provider "aws" {
  region                 = var.region
  allowed_account_ids    = [var.account_id]
  skip_region_validation = true # version 5.100.0 does not know newer Regions, such as ap-southeast-6
  default_tags {
    tags = { "signwatch:prefix" = var.prefix }
  }
}
