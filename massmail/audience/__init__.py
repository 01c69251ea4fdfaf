"""Who gets a mailing: recipients go in, `Delivery` and `LeftOut` rows come out.

Plain single addresses, the bulk, never leave the database: a handful of `INSERT … SELECT`, whatever their number.
Lists of addresses, non-ASCII ones and everything doubtful are streamed through email-validator in chunks.
"""

from massmail.audience.addresses import Address, parse_address, parse_addresses
from massmail.audience.counting import Expectation, expect
from massmail.audience.making import Creation, create_mailing, creation_of
from massmail.audience.sorting import sole_owner

__all__ = [
    "Address",
    "Creation",
    "Expectation",
    "create_mailing",
    "creation_of",
    "expect",
    "parse_address",
    "parse_addresses",
    "sole_owner",
]
