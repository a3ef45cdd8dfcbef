"""Signwatch's function: tells the owner of an AWS account of sign-ins from addresses that are not recognised."""
