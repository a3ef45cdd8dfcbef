"""Composes an alert and sends it. The only room that sends; a failure here raises."""
