"""What the app tells its host. Sent with `send_robust`: a failing receiver never harms a mailing."""

from django.dispatch import Signal

#: Arguments: `delivery`. After a server accepted a message and the result was committed.
delivery_sent = Signal(use_caching=True)

#: Arguments: `address`, `reason`. After an address was put on the suppression list.
address_suppressed = Signal()
