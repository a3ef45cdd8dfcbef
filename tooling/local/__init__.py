"""The local AWS emulator: emulator and adapter, the function's runtime, the loopback Twilio. For the demo and tests alone."""
