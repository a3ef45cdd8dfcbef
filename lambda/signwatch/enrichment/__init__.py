"""Asks AWS about a sign-in: names, allowances, earlier events. A failure never stops an alert."""
