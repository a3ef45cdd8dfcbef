"""The local AWS emulator and a loopback Twilio server; for the demo and the tests only."""
