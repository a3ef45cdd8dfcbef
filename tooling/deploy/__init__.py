"""From a checkout to a running stack: account, bootstrap, packages, change sets, and the secret."""
