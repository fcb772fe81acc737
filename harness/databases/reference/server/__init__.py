"""The reference database: a small replicated key-value server whose modes each have an answer known in advance.

It runs as one process on every node, needs nothing but Python's standard library, and learns of a partition only by what
does not arrive:

    python3 -I DIR --name n1 --listen 198.18.0.1:7400 --peer n2=198.18.0.2:7400 ... --mode MODE --data DIR

**Wire.** One TCP port for clients and peers, one JSON object a line, at most `MAX_LINE` bytes. A client may send several
requests at once; each carries an `id` of its choice, which its answer echoes, and answers come in any order. A key is a
string or an integer (`1` and `"1"` are two keys), a value or an element too; a register and a set of one key are apart.

    {"id": 1, "op": "read", "key": "x"}                           {"id": 1, "ok": true, "value": 7}      null: never written
    {"id": 2, "op": "write", "key": "x", "value": 7}              {"id": 2, "ok": true}
    {"id": 3, "op": "cas", "key": "x", "expected": 7, "new": 8}   {"id": 3, "ok": true}                  expected may be null
                                                                  {"id": 3, "ok": false, "seen": 9}      it held 9: a decision
    {"id": 4, "op": "add", "key": "s", "element": 5}              {"id": 4, "ok": true}
    {"id": 5, "op": "elements", "key": "s"}                       {"id": 5, "ok": true, "elements": [5]}
    {"id": 5, "op": "remove", "key": "s", "element": 5}           {"id": 5, "ok": true}
    {"id": 6, "op": "increment", "key": "c", "amount": 3}         {"id": 6, "ok": true}
    {"id": 6, "op": "count", "key": "c"}                          {"id": 6, "ok": true, "value": 3}
    {"id": 7, "op": "deposit", "key": "a", "amount": 100}         {"id": 7, "ok": true}
    {"id": 7, "op": "transfer", "source": "a", "target": "b", "amount": 30}
                                                                  {"id": 7, "ok": true}
                                                                  {"id": 7, "ok": false, "seen": 20}     it held too little
    {"id": 7, "op": "balances", "keys": ["a", "b"]}               {"id": 7, "ok": true, "balances": [70, 30]}
    {"id": 7, "op": "txn", "micros": [["r", "x", null], ["append", "x", 1], ["w", "y", 2]]}
                                                                  {"id": 7, "ok": true, "micros": [["r", "x", []], ...]}
    {"id": 7, "op": "enqueue", "key": "q", "element": 5}          {"id": 7, "ok": true}
    {"id": 7, "op": "dequeue", "key": "q"}                        {"id": 7, "ok": true, "value": 5}      null: it was empty
    {"id": 7, "op": "waiting", "key": "q"}                        {"id": 7, "ok": true, "elements": [5]}
    {"id": 7, "op": "acquire", "key": "l", "owner": 3, "lease": 2000}
                                                                  {"id": 7, "ok": true, "fence": 12}     lease in ms
                                                                  {"id": 7, "ok": false, "seen": 4}      4 holds it
    {"id": 7, "op": "renew", "key": "l", "owner": 3, "lease": 2000}   also `release`, without a lease
    {"id": 7, "op": "holder", "key": "l"}                         {"id": 7, "ok": true, "value": 3}
    {"id": 7, "op": "guarded-write", "key": "l", "value": 7, "fence": 12}
                                                                  {"id": 7, "ok": true}
                                                                  {"id": 7, "ok": false, "seen": 13}     a newer fence
    {"id": 7, "op": "id", "key": "i"}                             {"id": 7, "ok": true, "value": 41}
    {"id": 7, "op": "watch", "key": "x", "since": 3}              {"id": 7, "ok": true, "changes": [[5, 7], [9, 8]]}
    {"id": 7, "op": "siblings", "key": "x"}                       {"id": 7, "ok": true, "elements": [7, 8]}
    {"id": 7, "op": "compensated", "key": "x"}                    {"id": 7, "ok": true, "elements": [8]}
    {"id": 7, "op": "local-read", "key": "x"}                     {"id": 7, "ok": true, "value": 7}      this node's own copy
    {"id": 8, "op": "status"}                                     {"id": 8, "ok": true, "name": "n1", "mode": "fenced-primary",
                                                                   "role": "primary", "primary": "n1", "generation": 3,
                                                                   "version": 1207, "ready": true}

`local-elements`, `local-count`, `local-balances`, `local-waiting`, `local-holder`, `local-watch` and `local-txn` (of reads
alone) ask this node's own copy too.

Anything else that comes back is a failure, `{"id": 2, "error": "timeout", "definite": false}`. It is *definite* where the
operation certainly did not and will not happen: nothing of it was proposed to another node or stored here. The words:

    no-quorum     definite     fewer peers answer than the operation needs (known beforehand, or nothing was proposed yet)
    not-primary   definite     another node is primary, or none
    no-lease      definite     primary, but its lease is not in force
    unsupported   definite     the mode does not have this operation
    conflict      definite     the transaction was rolled back for another's sake
    locked        definite     others held what was needed for too long
    in-doubt      definite     a change of this key is under way and its outcome is not known here (a read)
    taken         definite     somebody was first
    compacted     definite     changes that old are forgotten
    bad-request   definite     not a request; with `id` null where the line was no JSON object, and the connection ends
    timeout       indefinite   not confirmed within `PATIENCE`: it may have happened, or may yet
    peer-lost     indefinite   the peer that had taken it over was lost
    demoted       indefinite   this node ceased to be primary meanwhile

`status` is answered by every node at once. `role` is `primary` or `replica`; `primary` is whom this node believes to be
primary at this moment, null where it knows none or the mode has none; `version` counts the changes that this copy holds.
`ready`: a majority is connected and, where there is a primary, known.

**Time.** Peers are pinged every `BEAT`; a connection that was silent for `SILENCE` is reset and opened anew at once, with
short attempts (`DIAL`), so that nothing waits for the kernel's retransmissions. An operation ends after `PATIENCE`.
"""

from __future__ import annotations
