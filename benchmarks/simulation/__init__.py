"""A discrete-event simulation of AWS and Twilio around the function's own code.

``scheduler`` keeps the time, ``threads`` gives it to the function, ``day`` puts the parts together.

Read from the templates: the timeouts, retries, ages, queues, mappings and concurrency. Real: all of
the function, twilio's client and requests. Simulated in their place: the network below requests,
the AWS clients (those of the tests, whose table evaluates its conditions), time and threads. A run
that is over its timeout is killed, and nothing that it would have done later happens; threads that
outlive a run are frozen until the next one of the same environment.

Assumed, since no template and no page says it:

- Sign-ins are spread over 24 hours. Each is in an account and from an address of its own, so that
  none is merged with another; limits of texts an hour are raised out of the way.
- The shares of faults: the constants of ``aws`` and ``twilio``. Half of the requests without an
  answer, a tenth of those with a reset and a twentieth of those with status 500 are served all the
  same. In the outage nothing is accepted: connections are refused, hang, or get status 503, each a
  third.
- One event in a hundred comes by the bus as late as by the trail, so that both meet.
- The rules lack the permission to invoke the function for ten minutes.
- Without reserved concurrency, the account has that of a new account. A mapping runs as many
  messages at once as its template allows, else five.
- A text is lost if no text about the sign-in arrives at anybody. A text that tells the others of a
  failed one ("Recipient 1 of 2 did not get this") counts as an arrival, and not as a duplicate.
- All environments share the function's caches. Calls of AWS succeed within 30 ms.
"""
