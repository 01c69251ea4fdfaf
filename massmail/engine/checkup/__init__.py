"""Will the world accept the mail, and take it? Of accounts by the DNS and a mail to themselves, of recipients' domains.

Everything here runs in workers or on a button, never while a mailing is sent: the engine reads what is on record.
"""
