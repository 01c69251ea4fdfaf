"""Every fault that the README's promise names, and the test that brings it about.

| fault | tests |
|---|---|
| refused, DNS, time-out at connect | `test_server.test_unreachable__*`, `test_sink.test_broken_off__*` |
| 421 at any command | `test_server.test_421__*`, `test_sink.test_broken_off__*` |
| greylisted | `test_server.test_greylisted__*`, `test_sink.test_greylisted__*` |
| mailbox full | `test_server.test_mailbox_full__*` |
| no such user | `test_server.test_no_such_user__*` |
| policy, spam | `test_server.test_spam__*` |
| the provider's daily limit | `test_server.test_provider_limit__*` |
| wrong password, revoked token | `test_server.test_wrong_password__*`, `test_server.test_revoked_token__*` |
| self-signed certificate, STARTTLS stripped | `test_server.test_certificate__*`, `test_server.test_starttls__*` |
| dropped in mid DATA | `test_server.test_drop__in_*`, `test_sink.test_broken_off__*` |
| dropped after the dot | `test_server.test_drop__*`, `test_sink.test_after_the_dot__*` |
| a slow answer to the dot | `test_server.test_slow__*`, `test_sink.test_slow__*` |
| kill -9 at each step | `test_kills.test_killed_at`, `test_kills.test_killed__*` |
| kill -9 at random moments | `acceptance.test_processes.test_kill__*`, `make torture` |
| the database is down | `test_database.test_down__*` |
| Redis down, flushed, restarted empty | `test_broker.test_redis__*` |
| beat twice | `test_broker.test_beat__twice_*`, `acceptance.test_processes.test_quota__*` |
| no beat | `test_broker.test_beat__none_*` |
| eight processes on one lane, replayed tasks | `test_broker.test_one_lane__*`, `test_broker.test_lease__*` |
| forged ids | `test_broker.test_forged__*` |
| clock jumps, summer time | `test_changes.test_clock__*`, and by the minute `unit.test_window` |
| account deleted, stopped, held, given away in mid-run | `test_changes.test_account__*` |
| recipient deleted, unsubscribed, handed over in mid-run | `test_changes.test_recipient__*` |
| mailing paused and resumed a hundred times | `test_changes.test_mailing__*` |
| message edited in mid-run | `test_changes.test_message__*` |
| a backlog of 100,000 after an outage | `test_changes.test_backlog__*` |

All can run on SQLite and on PostgreSQL; `.ci/run` runs them on SQLite, and those about the database on both.
`test_sink` needs Postfix's `smtp-sink`.
"""
