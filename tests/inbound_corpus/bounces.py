"""Bounces and notices of delay."""
# The letters of all languages are meant as they are.
# ruff: noqa: RUF001

from __future__ import annotations

from tests.inbound_corpus import BODY, GONE, MESSAGE_ID, ORIGINAL, OWN, Case, mail, multipart, notification

POSTFIX = notification(
    """
    Reporting-MTA: dns; mx.acme.example
    X-Postfix-Queue-ID: 4Vf1Zz2Qk8z9s
    X-Postfix-Sender: rfc822; anna.berg@acme.example
    Arrival-Date: Tue, 14 May 2024 09:30:01 +0200 (CEST)
    """,
    """
    Final-Recipient: rfc822; jo.doe@customer.example
    Original-Recipient: rfc822;jo.doe@customer.example
    Action: failed
    Status: 5.1.1
    Remote-MTA: dns; mx.customer.example
    Diagnostic-Code: smtp; 550 5.1.1 <jo.doe@customer.example>: Recipient address
        rejected: User unknown in virtual mailbox table
    """,
)

REPORTS = [
    Case(
        name="Postfix: no such user",
        raw=POSTFIX,
        status="5.1.1",
        permanent=True,
        reason="hard",
        words="550 5.1.1 <jo.doe@customer.example>: Recipient address rejected: User unknown in virtual mailbox table",
    ),
    Case(
        name="Postfix: domain does not exist",
        raw=notification(
            "Reporting-MTA: dns; mx.acme.example",
            """
            Final-Recipient: rfc822; jo.doe@customer.example
            Action: failed
            Status: 5.4.4
            Diagnostic-Code: X-Postfix; Host or domain name not found. Name service error
                for name=customer.example type=AAAA: Host not found
            """,
            back="text/rfc822-headers",
        ),
        status="5.4.4",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Postfix: gave up after five days",
        raw=notification(
            "Reporting-MTA: dns; mx.acme.example",
            """
            Final-Recipient: rfc822; jo.doe@customer.example
            Action: failed
            Status: 4.4.1
            Diagnostic-Code: X-Postfix; connect to mx.customer.example[192.0.2.9]:25: Connection timed out
            """,
        ),
        status="4.4.1",
        permanent=False,
        reason="soft",
    ),
    Case(
        name="Postfix: mailbox over quota",
        raw=notification(
            "Reporting-MTA: dns; mx.acme.example",
            """
            Final-Recipient: rfc822; jo.doe@customer.example
            Action: failed
            Status: 5.2.2
            Diagnostic-Code: smtp; 552 5.2.2 <jo.doe@customer.example>: user is over quota
            """,
        ),
        status="5.2.2",
        permanent=False,
        reason="soft",
    ),
    Case(
        name="sendmail: user unknown",
        raw=notification(
            """
            Reporting-MTA: dns; relay.acme.example
            Received-From-MTA: DNS; mail.acme.example
            """,
            """
            Final-Recipient: RFC822; jo.doe@customer.example
            Action: failed
            Status: 5.1.1
            Remote-MTA: DNS; mx.customer.example
            Diagnostic-Code: SMTP; 550 5.1.1 <jo.doe@customer.example>... User unknown
            Last-Attempt-Date: Tue, 14 May 2024 09:30:07 +0200
            """,
            sender="Mail Delivery Subsystem <MAILER-DAEMON@relay.acme.example>",
            subject="Returned mail: see transcript for details",
            text="   ----- The following addresses had permanent fatal errors -----\n<jo.doe@customer.example>",
            more="Auto-Submitted: auto-generated (failure)\n",
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Exim with a report",
        raw=notification(
            "Reporting-MTA: dns; mail.acme.example",
            """
            Action: failed
            Final-Recipient: rfc822;jo.doe@customer.example
            Status: 5.0.0
            Remote-MTA: dns; mx.customer.example
            Diagnostic-Code: smtp; 550 5.7.1 Message contains spam or virus
            """,
            sender="Mail Delivery System <Mailer-Daemon@mail.acme.example>",
            subject="Mail delivery failed: returning message to sender",
            more="X-Failed-Recipients: jo.doe@customer.example\nAuto-Submitted: auto-replied\n",
        ),
        status="5.7.1",
        permanent=True,
        reason="policy",
    ),
    Case(
        name="Gmail: address not found",
        raw=notification(
            f"""
            Reporting-MTA: dns; googlemail.com
            Arrival-Date: Tue, 14 May 2024 00:30:01 -0700 (PDT)
            X-Original-Message-ID: {MESSAGE_ID}
            """,
            """
            Final-Recipient: rfc822; jo.doe@customer.example
            Action: failed
            Status: 5.1.1
            Remote-MTA: dns; mx.customer.example. (192.0.2.9, the server for the domain.)
            Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try
             550-5.1.1 double-checking the recipient's email address for typos or
             550 5.1.1 unnecessary spaces. ffacd0b85a97d-35042 - gsmtp
            Last-Attempt-Date: Tue, 14 May 2024 00:30:02 -0700 (PDT)
            """,
            sender="Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
            subject="Delivery Status Notification (Failure)",
            text="** Address not found **\n\nYour message wasn't delivered to jo.doe@customer.example",
            back="",
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Gmail: own sending limit",
        raw=notification(
            "Reporting-MTA: dns; googlemail.com",
            """
            Final-Recipient: rfc822; jo.doe@customer.example
            Action: failed
            Status: 5.4.5
            Diagnostic-Code: smtp; 550 5.4.5 Daily user sending limit exceeded.
            """,
            sender="Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
            subject="Delivery Status Notification (Failure)",
        ),
        status="5.4.5",
        permanent=False,
        reason="sender",
    ),
    Case(
        name="Exchange Online",
        raw=notification(
            """
            Reporting-MTA: dns;DB9PR01MB1234.eurprd01.prod.exchangelabs.example
            Received-From-MTA: dns;AM0PR01MB5678.eurprd01.prod.exchangelabs.example
            """,
            """
            Final-Recipient: rfc822;jo.doe@customer.example
            Action: failed
            Status: 5.1.10
            Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient
             jo.doe@customer.example not found by SMTP address lookup
            """,
            sender="<postmaster@customer.example>",
            subject="Undeliverable: Spring news",
            more="Auto-Submitted: auto-replied\nX-MS-Exchange-Message-Is-Ndr:\nIn-Reply-To: <other@acme.example>\n",
        ),
        status="5.1.10",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Exchange Online: access denied by the directory",
        raw=notification(
            "Reporting-MTA: dns;mx.acme.example",
            """
            Final-Recipient: rfc822;jo.doe@customer.example
            Action: failed
            Status: 5.4.1
            Diagnostic-Code: smtp;550 5.4.1 Recipient address rejected: Access denied. [DB5EUR03FT012.eop.example]
            """,
        ),
        status="5.4.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Exchange Online: domain gone",
        raw=notification(
            "Reporting-MTA: dns;AM0PR01MB5678.eurprd01.prod.exchangelabs.example",
            """
            Final-Recipient: rfc822;jo.doe@customer.example
            Action: failed
            Status: 5.4.310
            Diagnostic-Code: smtp;550 5.4.310 DNS domain customer.example does not exist [Message=InfoDomainNonexistent]
            """,
            sender="Microsoft Outlook <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@acme.example>",
            subject="Unzustellbar: Spring news",
        ),
        status="5.4.310",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Exchange Online: not allowed to send",
        raw=notification(
            "Reporting-MTA: dns;mx.acme.example",
            """
            Final-Recipient: rfc822;jo.doe@customer.example
            Action: failed
            Status: 5.7.1
            Diagnostic-Code: smtp;550 5.7.1 Service unavailable, Client host [192.0.2.7] blocked using Spamhaus
            """,
        ),
        status="5.7.1",
        permanent=True,
        reason="policy",
    ),
    Case(
        name="message too large",
        raw=notification(
            "Reporting-MTA: dns;mx.acme.example",
            """
            Final-Recipient: rfc822;jo.doe@customer.example
            Action: failed
            Status: 5.3.4
            Diagnostic-Code: smtp; 552 5.3.4 Message size exceeds fixed limit
            """,
        ),
        status="5.3.4",
        permanent=True,
        reason="content",
    ),
    Case(
        name="Domino with a report",
        raw=notification(
            "Reporting-MTA: dns;notes.customer.example",
            """
            Final-Recipient: rfc822;jo.doe@customer.example
            Action: failed
            Status: 5.1.1
            Diagnostic-Code: X-Notes; User jo.doe (jo.doe@customer.example) not listed in Domino Directory
            """,
            sender="Postmaster@customer.example",
            subject="DELIVERY FAILURE: User jo.doe (jo.doe@customer.example) not listed in Domino Directory",
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Oracle Messaging Server",
        raw=notification(
            "Reporting-MTA: dns;mta.customer.example (tcp-daemon)",
            """
            Original-recipient: rfc822;jo.doe@customer.example
            Final-recipient: rfc822;jo.doe@mailstore.customer.example
            Action: failed
            Status: 5.1.1 (unknown or illegal alias)
            """,
            sender="postmaster@mta.customer.example",
            subject="Delivery Notification: Delivery has failed",
            more=f"In-Reply-To: {MESSAGE_ID}\n",
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
        words="5.1.1 (unknown or illegal alias)",
    ),
    Case(
        name="Amazon SES",
        raw=notification(
            "Reporting-MTA: dns; a8-50.smtp-out.ses.example",
            """
            Action: failed
            Final-Recipient: rfc822; jo.doe@customer.example
            Diagnostic-Code: smtp; 550 5.1.1 user unknown
            Status: 5.1.1
            """,
            sender="MAILER-DAEMON@ses.example",
            subject="Delivery Status Notification (Failure)",
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="OpenSMTPD says error",
        raw=notification(
            "Reporting-MTA: dns; mail.acme.example",
            """
            Final-Recipient: rfc822; jo.doe@customer.example
            Action: error
            Status: 5.0.0
            Diagnostic-Code: smtp; 550 Invalid recipient
            """,
            sender="Mailer Daemon <MAILER-DAEMON@mail.acme.example>",
            subject="Delivery status notification: error",
        ),
        status="5.0.0",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="a gateway without blank lines and without an action",
        raw=notification(
            """
            Reporting-MTA: dns; gw.customer.example
            Final-Recipient: rfc822; <jo.doe@customer.example>
            Status: 5.1.1
            Diagnostic-Code: smtp; 550 User unknown
            """,
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="internationalised (RFC 6533)",
        raw=notification(
            "Reporting-MTA: dns; mx.customer.example",
            r"""
            Original-Recipient: utf-8; j\x{F6}rg@customer.example
            Final-Recipient: utf-8; jörg@customer.example
            Action: failed
            Status: 5.1.1
            Diagnostic-Code: smtp; 550 5.1.1 Benutzer unbekannt
            """,
            kind="message/global-delivery-status",
            back="message/global-headers",
        ),
        recipients=("jörg@customer.example",),
        status="5.1.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="two recipients failed and one was served",
        raw=notification(
            "Reporting-MTA: dns; mx.acme.example",
            """
            Final-Recipient: rfc822; jo.doe@customer.example
            Action: failed
            Status: 4.2.2
            Diagnostic-Code: smtp; 452 4.2.2 mailbox full
            """,
            """
            Final-Recipient: rfc822; fine@customer.example
            Action: delivered
            Status: 2.0.0
            """,
            """
            Final-Recipient: rfc822; Gone@Customer.example
            Action: failed (no mailbox)
            Status: 5.1.1
            """,
        ),
        recipients=(GONE, "gone@customer.example"),
        status="5.1.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="hidden in mixed by a gateway",
        raw=mail(
            """
            From: <postmaster@customer.example>
            Subject: Delivery Status Notification (Failure)
            Content-Type: multipart/mixed; boundary="=_b"
            """,
            multipart(
                "Content-Type: text/plain\n\nThis is an automatically generated notification.",
                "Content-Type: message/delivery-status; name=status.txt\n\n"
                f"Original-Recipient: <{GONE}>\nAction: failed\nDiagnostic-Code: smtp; 550 Unknown user {GONE}",
                f"Content-Type: message/rfc822\nContent-Disposition: attachment\n\n{ORIGINAL}{BODY}",
            ),
        ),
        permanent=True,
        reason="hard",
    ),
    Case(
        name="the report of another server inside a notification",
        raw=mail(
            """
            From: "Mail Delivery Subsystem" <MAILER-DAEMON@scanner.acme.example>
            Subject: Returned mail: User unknown
            Content-Type: multipart/mixed; boundary="=_outer"
            """,
            "--=_outer\nContent-Type: text/plain\n\nThe following addresses had errors\n"
            "--=_outer\nContent-Type: message/rfc822\n\n" + POSTFIX.decode().replace("\r", "") + "--=_outer--\n",
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="the status in base64",
        raw=notification(
            "UmVwb3J0aW5nLU1UQTogZG5zOyBteC5jdXN0b21lci5leGFtcGxlCgpGaW5hbC1SZWNpcGllbnQ6IHJmYzgyMjsgam8uZG9lQGN1c3RvbWVyLmV4\n"
            "YW1wbGUKQWN0aW9uOiBmYWlsZWQKU3RhdHVzOiA1LjEuMQo=",
            kind="message/delivery-status\nContent-Transfer-Encoding: base64",
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
    ),
]

FREE_FORM = [
    Case(
        name="qmail",
        raw=mail(
            """
            Return-Path: <>
            From: MAILER-DAEMON@mail.customer.example
            Subject: failure notice
            """,
            f"""\
Hi. This is the qmail-send program at mail.customer.example.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<{GONE}>:
192.0.2.9 does not like recipient.
Remote host said: 550 5.1.1 sorry, no mailbox here by that name (#5.1.1)
Giving up on 192.0.2.9.

--- Below this line is a copy of the message.

{ORIGINAL}{BODY}""",
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
        words="Remote host said: 550 5.1.1 sorry, no mailbox here by that name (#5.1.1) Giving up on 192.0.2.9.",
    ),
    Case(
        name="qmail: mailbox full",
        raw=mail(
            "From: MAILER-DAEMON@mail.customer.example\nSubject: failure notice",
            f"""\
Hi. This is the qmail-send program at mail.customer.example.
I'm afraid I wasn't able to deliver your message to the following addresses.

<{GONE}>:
The users mailfolder is over the allowed quota (size). (#5.2.2)

--- Below this line is a copy of the message.

{ORIGINAL}{BODY}""",
        ),
        status="5.2.2",
        permanent=False,
        reason="soft",
    ),
    Case(
        name="Exim in text",
        raw=mail(
            f"""
            X-Failed-Recipients: {GONE}
            Auto-Submitted: auto-replied
            From: Mail Delivery System <Mailer-Daemon@mail.acme.example>
            Subject: Mail delivery failed: returning message to sender
            """,
            f"""\
This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  {GONE}
    host mx.customer.example [192.0.2.9]
    SMTP error from remote mail server after RCPT TO:<{GONE}>:
    550 5.1.1 Mailbox unknown

------ This is a copy of the message, including all the headers. ------

{ORIGINAL}{BODY}""",
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
        words="550 5.1.1 Mailbox unknown",
    ),
    Case(
        name="GMX and 1&1",
        raw=mail(
            "From: MAILER-DAEMON@gmx.example\nSubject: Mail delivery failed: returning message to sender",
            f"""\
This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of
its recipients. This is a permanent error. The following address
failed:

"{GONE}":
SMTP error from remote server after RCPT command:
host: mx.customer.example
5.2.2 <{GONE}>... Mailbox Full


--- The header of the original message is following. ---

{ORIGINAL}""",
        ),
        status="5.2.2",
        permanent=False,
        reason="soft",
    ),
    Case(
        name="Yahoo",
        raw=mail(
            "From: MAILER-DAEMON@yahoo.example\nSubject: Failure Notice",
            f"""\
Sorry, we were unable to deliver your message to the following address.

<{GONE}>:
554: delivery error: dd This user doesn't have a customer.example account ({GONE}) [0] - mta1007

--- Below this line is a copy of the message.

{ORIGINAL}{BODY}""",
        ),
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Exchange 2003",
        raw=mail(
            """
            From: System Administrator <postmaster@customer.example>
            Subject: Undeliverable: Spring news
            X-Mailer: Internet Mail Service (5.5.2657.72)
            Content-Type: multipart/mixed; boundary="=_b"
            """,
            multipart(
                f"""Content-Type: text/plain; charset="iso-8859-1"

Your message

  To:      {GONE}
  Subject: Spring news
  Sent:    Tue, 14 May 2024 09:30:00 +0200

did not reach the following recipient(s):

{GONE} on Tue, 14 May 2024 09:30:04 +0200
    The recipient name is not recognized
\tThe MTS-ID of the original message is: c=de;a= ;p=customer;l=EX1-240514073004Z-1
    MSEXCH:IMS:CUSTOMER:EX1:EX1 0 (000C05A6) Unknown Recipient
""",
                f"Content-Type: message/rfc822\n\n{ORIGINAL}{BODY}",
            ),
        ),
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Exchange in HTML only",
        raw=mail(
            """
            From: postmaster@customer.example
            Subject: Undeliverable: Spring news
            Content-Type: text/html; charset="us-ascii"
            """,
            f"""\
<html><head><style>p {{ color: #066 }}</style></head><body>
<p><b>Delivery has failed to these recipients or groups:</b></p>
<p><a href="mailto:{GONE}">Jo Doe</a><br>The e-mail address you entered couldn't be found.</p>
<p><b>Diagnostic information for administrators:</b></p>
<p>Generating server: EX1.customer.example</p>
<p>{GONE}<br>#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##</p>
<p>Original message headers:</p>
<pre>From: Anna Berg &lt;{OWN}&gt;
To: {GONE}
Message-ID: {MESSAGE_ID.replace("<", "&lt;").replace(">", "&gt;")}
</pre></body></html>""",
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Lotus SMTP MTA",
        raw=mail(
            "From: postmaster@customer.example\nSubject: Undeliverable message",
            f"""\
------- Failure Reasons  --------

User not listed in public Name & Address Book
{GONE}

------- Returned Message --------
{ORIGINAL}{BODY}""",
        ),
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Lotus: too many hops, without an address",
        raw=mail(
            "From: postmaster@customer.example\nSubject: Undeliverable message",
            f"""\
------- Failure Reasons --------

Message has exceeded maximum hop count

------- Returned Message --------
{ORIGINAL}{BODY}""",
        ),
        permanent=True,
        reason="refused",
    ),
    Case(
        name="sendmail 8 without a report",
        raw=mail(
            "From: Mail Delivery Subsystem <MAILER-DAEMON@relay.acme.example>\nSubject: Returned mail: User unknown",
            f"""\
The original message was received at Tue, 14 May 2024 09:30:00 +0200
from mail.acme.example [192.0.2.7]

   ----- The following addresses had permanent fatal errors -----
<{GONE}>

   ----- Transcript of session follows -----
... while talking to mx.customer.example.:
>>> RCPT To:<{GONE}>
<<< 550 5.1.1 <{GONE}>... User unknown
550 <{GONE}>... User unknown

   ----- Original message follows -----

{ORIGINAL}{BODY}""",
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="sendmail 5: deferred for days",
        raw=mail(
            "From: Mail Delivery Subsystem <MAILER-DAEMON@relay.acme.example>\n"
            "Subject: Returned mail: Cannot send message for 4 days",
            f"""\
   ----- Transcript of session follows -----
421 customer.example (smtp)... Deferred: Connection timed out during user open with customer.example

   ----- Unsent message follows -----
{ORIGINAL}{BODY}""",
        ),
        permanent=False,
        reason="soft",
    ),
    Case(
        name="MailMarshal",
        raw=mail(
            """
            From: postmaster@customer.example
            Subject: Undeliverable Mail: "Spring news"
            Content-Type: multipart/mixed; boundary="=_b"
            """,
            multipart(
                f"""Content-Type: text/plain; charset="iso-8859-1"

Your message:
   From:    {OWN}
   Subject: Spring news

Could not be delivered because of

550 5.1.1 User unknown

The following recipients were affected:
    {GONE}

Original Sender:    <{OWN}>
Remote-MTA:         <192.0.2.9>
"""
            ),
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
        known=False,
    ),
    Case(
        name="InterScan, subject in Japanese",
        raw=mail(
            """
            From: "InterScan MSS" <postmaster@customer.example>
            Subject: =?utf-8?b?44Oh44OD44K744O844K444KS6YWN5L+h44Gn44GN44G+44Gb44KT44CC?=
            Content-Type: multipart/mixed; boundary="=_b"
            """,
            multipart(
                f"Content-Type: text/plain\n\nSent <<< RCPT TO:<{GONE}>\n"
                f"Received >>> 550 5.1.1 <{GONE}>... user unknown\n",
                f"Content-Type: message/rfc822\n\n{ORIGINAL}{BODY}",
            ),
        ),
        status="5.1.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Mail2000: original as a part's own headers",
        raw=mail(
            """
            From: "Mail Deliver System" <MAILER-DAEMON@mx.customer.example>
            Subject: Returned Mail: User unknown
            Content-Type: multipart/mixed; boundary="=_b"
            """,
            multipart(
                "Content-Type: text/plain\n\n---The following addresses had delivery errors---\n\n"
                f"{GONE} [User unknown]\n",
                f"{ORIGINAL}{BODY}",
            ),
        ),
        permanent=True,
        reason="hard",
    ),
    Case(
        name="m-FILTER, text in Japanese",
        raw=mail(
            "From: POSTMASTER <postmaster@customer.example>\nSubject: failure notice\n"
            'Content-Type: text/plain; charset="iso-2022-jp"',
            f"""\
以下のメールアドレスへの送信に失敗しました。
{GONE}

-------server message
550 unknown user <{GONE}>

-------SMTP command
DATA

-------original message
{ORIGINAL}{BODY}""",
            charset="iso-2022-jp",
        ),
        permanent=True,
        reason="hard",
    ),
    Case(
        name="IMail (SMTP32)",
        raw=mail(
            """
            From: "Postmaster" <postmaster@customer.example>
            Subject: Undeliverable Mail
            X-Mailer: <SMTP32 v8.22>
            """,
            f"Unknown user: {GONE}\n\n\nOriginal message follows.\n\n{ORIGINAL}{BODY}",
        ),
        permanent=True,
        reason="hard",
    ),
    Case(
        name="MDaemon: would exceed the quota",
        raw=mail(
            "From: MDaemon@customer.example\nSubject: Permanent Delivery Failure",
            f"""\
The attached message had PERMANENT fatal delivery errors!

--- Session Transcript ---
 Tue 2024-05-14 09:30:05: --> RCPT To:<{GONE}>
 Tue 2024-05-14 09:30:05: <-- 552 Message for <{GONE}> would exceed mailbox quota
--- End Transcript ---

Failed address: {GONE}

Message-ID: {MESSAGE_ID}
""",
        ),
        permanent=False,
        reason="soft",
    ),
    Case(
        name="Apache James",
        raw=mail(
            f"""
            From: post_master@customer.example
            Subject: Re:Spring news
            In-Reply-To: {MESSAGE_ID}
            Content-Type: multipart/mixed; boundary="=_b"
            """,
            multipart(
                f"""Content-Type: text/plain; charset=us-ascii

Error: Invalid user address

Error message below:
550 - Requested action not taken: no such user here

Message details:
  Subject: Spring news
  MAIL FROM: {OWN}
  RCPT TO: {GONE}
  From: {OWN}
"""
            ),
        ),
        permanent=True,
        reason="hard",
    ),
    Case(
        name="MailFoundry",
        raw=mail(
            """
            From: MAILER-DAEMON@customer.example
            Subject: Message delivery has failed
            Content-Type: multipart/mixed; boundary="=_b"
            """,
            multipart(
                f"Content-Type: text/plain\n\nUnable to deliver message to: <{GONE}>\n"
                "Delivery failed for the following reason:\n"
                f"Server mx.customer.example[192.0.2.9] failed with: 550 <{GONE}> No such user here\n",
                f"Content-Type: message/rfc822\n\n{ORIGINAL}{BODY}",
            ),
        ),
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Mail.ru, in Russian",
        raw=mail(
            """
            Auto-Submitted: auto-replied
            From: Mail Delivery System <Mailer-Daemon@mx1.mail.example>
            Subject: =?utf-8?b?0JLQsNGI0LUg0YHQvtC+0LHRidC10L3QuNC1INC90LUg0LTQvtGB0YLQsNCy0LvQtdC90L4=?=
            """,
            f"""\
Это письмо создано автоматически сервером, отвечать на него не нужно.

К сожалению, Ваше письмо не может быть доставлено одному или нескольким получателям:

**********************

This message was created automatically by mail delivery software.

A message that you sent was rejected by the local scanning code that
checks incoming messages on this system.

The following error was given:

{GONE}
550 Message was not accepted -- invalid mailbox. Local mailbox {GONE} is unavailable: user not found

**********************

------ This is a copy of your message's header. ------

{ORIGINAL}""",
        ),
        permanent=True,
        reason="hard",
    ),
    Case(
        name="Dovecot refuses with a receipt",
        raw=mail(
            """
            From: Mail Delivery Subsystem <postmaster@customer.example>
            Subject: Automatically rejected mail
            Auto-Submitted: auto-replied (rejected)
            Content-Type: multipart/report; report-type=disposition-notification; boundary="=_b"
            """,
            multipart(
                f"Content-Type: text/plain\n\nYour message to <{GONE}> was automatically rejected:\nQuota exceeded\n",
                f"Content-Type: message/disposition-notification\n\nFinal-Recipient: rfc822; {GONE}\n"
                f"Original-Message-ID: {MESSAGE_ID}\nDisposition: automatic-action/MDN-sent-automatically; deleted\n",
            ),
        ),
        permanent=False,
        reason="soft",
        known=False,
    ),
    Case(
        name="Mac line ends and no space anywhere",
        raw=mail(
            "From: MAILER-DAEMON@customer.example\nSubject: Delivery failure",
            f"Unable to deliver message to the following address(es).\n\n<{GONE}>:\n550 5.1.1 unknown user\n",
        ).replace(b"\r\n", b"\r"),
        status="5.1.1",
        permanent=True,
        reason="hard",
        known=False,
    ),
    Case(
        name="the fields of a report typed into the text",
        raw=mail(
            "From: Mail Delivery System <mailer-daemon@customer.example>\nSubject: Undeliverable",
            f"""\
Your message was not delivered.

Reporting-MTA: dns; mx.customer.example

Final-Recipient: rfc822; {GONE}
Action: failed
Status: 5.2.1
Diagnostic-Code: smtp; 550 5.2.1 mailbox disabled

Message-ID: {MESSAGE_ID}
""",
        ),
        status="5.2.1",
        permanent=True,
        reason="hard",
    ),
    Case(
        name="a server without a name of its own",
        raw=mail(
            "From: mailgate@customer.example\nSubject: Mail could not be delivered",
            f"""\
The following mail could not be delivered to {GONE}: 554 5.4.14 Hop count exceeded.

Original message follows.

{ORIGINAL}""",
        ),
        status="5.4.14",
        permanent=True,
        reason="refused",
    ),
]

DELAYED = [
    Case(
        name="Postfix: delayed",
        raw=notification(
            "Reporting-MTA: dns; mx.acme.example",
            """
            Final-Recipient: rfc822; jo.doe@customer.example
            Action: delayed
            Status: 4.2.0
            Diagnostic-Code: smtp; 450 4.2.0 <jo.doe@customer.example>: Recipient address rejected: Greylisted
            Will-Retry-Until: Sun, 19 May 2024 09:30:00 +0200 (CEST)
            """,
            subject="Delayed Mail (still being retried)",
        ),
        status="4.2.0",
        permanent=False,
        reason="soft",
    ),
    Case(
        name="Gmail: delayed",
        raw=notification(
            f"Reporting-MTA: dns; googlemail.com\nX-Original-Message-ID: {MESSAGE_ID}",
            """
            Final-Recipient: rfc822; jo.doe@customer.example
            Action: delayed
            Status: 4.4.1
            Diagnostic-Code: smtp; The recipient server did not accept our requests to connect.
            """,
            subject="Delivery Status Notification (Delay)",
            back="",
        ),
        status="4.4.1",
        permanent=False,
        reason="soft",
    ),
    Case(
        name="Exim: delayed, in text",
        raw=mail(
            "From: Mail Delivery System <Mailer-Daemon@mail.acme.example>\n"
            "Subject: Warning: message 1rABCD-0001 delayed 24 hours",
            f"""\
This message was created automatically by mail delivery software.
A message that you sent has not yet been delivered to one or more of its
recipients after more than 24 hours on the queue on mail.acme.example.

The message identifier is:     1rABCD-0001
Message-ID: {MESSAGE_ID}
The address to which the message has not yet been delivered is:

  {GONE}

No action is required on your part. Delivery attempts will continue for
some time, and this warning may be repeated at intervals if the message
remains undelivered.
""",
        ),
        permanent=False,
        reason="soft",
    ),
    Case(
        name="one late and one served",
        raw=notification(
            "Reporting-MTA: dns; mx.acme.example",
            "Final-Recipient: rfc822; fine@customer.example\nAction: relayed\nStatus: 2.1.9",
            "Final-Recipient: rfc822; jo.doe@customer.example\nAction: delayed\nStatus: 4.4.7",
        ),
        status="4.4.7",
        permanent=False,
        reason="soft",
    ),
]

BOUNCES = REPORTS + FREE_FORM
