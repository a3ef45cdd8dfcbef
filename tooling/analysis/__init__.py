"""Answers about sign-ins without a deployment: explain and coverage."""
