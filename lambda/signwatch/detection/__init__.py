"""From a CloudTrail event to a verdict. Pure: no AWS call, no clock, no logging."""
