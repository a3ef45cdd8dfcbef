"""What AWS knows about a sign-in: names, allowances and earlier events. A failure here never silences an alert."""
