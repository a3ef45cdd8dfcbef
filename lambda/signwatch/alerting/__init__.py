"""Composes an alert and sends it. Only this package sends anything to people."""
