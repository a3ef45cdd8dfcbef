"""Signwatch's function: alerts the owner of an AWS account to sign-ins from unknown addresses."""
