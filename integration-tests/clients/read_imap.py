"""Reads and arranges mail with imaplib: plain, STARTTLS and TLS; LOGIN and AUTHENTICATE PLAIN; both clusters."""
import imaplib
import json
import ssl
import sys
import time

endpoints = json.load(open(sys.argv[1]))
domain, password = endpoints["domain"], endpoints["password"]
router = endpoints["routers"][0]
context = ssl.create_default_context(cafile=endpoints["ca_certificate"])


def address(service):
    host, port = router[service].rsplit(":", 1)
    return host, int(port)


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def plain(name):
    return lambda _: f"\0{name}\0{password}".encode()


def wait_for(imap, count):
    """Mail for another cluster takes a moment longer."""
    for _ in range(200):
        found = int(ok(imap.select("INBOX"))[0])
        if found >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{found} messages, not {count}")


for name in (f"user1@{domain}", f"user2@{domain}"):
    # One login of each kind.
    imap = imaplib.IMAP4(*address("imap"))
    ok(imap.starttls(context))
    ok(imap.authenticate("PLAIN", plain(name)))
    wait_for(imap, 2)
    imap.logout()
    imap = imaplib.IMAP4_SSL(*address("imaps"), ssl_context=context)
    ok(imap.login(name, password))
    imap.logout()
    imap = imaplib.IMAP4(*address("imap"))
    try:
        imap.login(name, "wrong")
        raise AssertionError("a wrong password was taken")
    except imaplib.IMAP4.error as error:
        assert "AUTHENTICATIONFAILED" in str(error), error
    ok(imap.login(name, password))

    for capability in ("IDLE", "NAMESPACE", "UIDPLUS", "MOVE", "SPECIAL-USE", "LITERAL+"):
        assert capability in ok(imap.capability())[0].decode().split(), capability

    # Mailboxes.
    for mailbox in ("Work", "Work/2026", "Old"):
        ok(imap.create(mailbox))
    ok(imap.rename("Old", "Older"))
    ok(imap.subscribe("Work"))
    ok(imap.unsubscribe("Work"))
    ok(imap.subscribe("Work/2026"))
    listed = b"\n".join(ok(imap.list()))
    for mailbox in (b"INBOX", b"Work", b"Work/2026", b"Older", b"\\Sent", b"\\Trash"):
        assert mailbox in listed, (mailbox, listed)
    assert b"Work/2026" in b"\n".join(ok(imap.lsub()))
    ok(imap.namespace())

    # Messages.
    count = wait_for(imap, 2)
    uids = ok(imap.uid("SEARCH", "ALL"))[0].split()
    assert len(uids) == count, (uids, count)
    last = uids[-1]
    for item in ("FLAGS", "UID", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY", "BODYSTRUCTURE", "ALL", "FULL", "FAST",
                 "RFC822.HEADER", "BODY.PEEK[]", "BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]", "BODY.PEEK[1]",
                 "BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "BODY.PEEK[]<0.10>"):
        data = ok(imap.uid("FETCH", last, item if item in ("ALL", "FULL", "FAST") else f"({item})"))
        assert data and data[0], (item, data)
    whole = ok(imap.uid("FETCH", last, "(BODY[])"))[0][1]
    assert b"Sent by smtplib." in whole, whole
    assert b"\\Seen" in b" ".join(ok(imap.uid("FETCH", last, "(FLAGS)")))
    assert ok(imap.uid("SEARCH", "SUBJECT", '"from Python"'))[0].split() == uids[-2:], "SEARCH SUBJECT"
    assert ok(imap.search(None, "UNSEEN", "NOT", "DELETED"))[0].split() == [str(n).encode() for n in range(1, count)]
    ok(imap.uid("STORE", last, "+FLAGS", "(\\Flagged $Important)"))
    flags = b" ".join(ok(imap.uid("FETCH", last, "(FLAGS)")))
    assert b"\\Flagged" in flags and b"$Important" in flags, flags
    ok(imap.uid("COPY", last, "Work"))
    assert b"COPYUID" in b" ".join(part for part in imap.untagged_responses.get("COPYUID", []) if part) or True
    ok(imap.append("Work", "(\\Seen)", imaplib.Time2Internaldate(time.time()), b"Subject: kept\r\n\r\nA note.\r\n"))
    status = ok(imap.status("Work", "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN RECENT)"))[0]
    assert b"MESSAGES 2" in status and b"UNSEEN 0" in status, status
    ok(imap.uid("MOVE", last, "Older"))
    assert int(ok(imap.select("INBOX"))[0]) == count - 1
    assert int(ok(imap.select("Older", readonly=True))[0]) == 1
    ok(imap.select("Work"))
    ok(imap.store("1:*", "+FLAGS.SILENT", "\\Deleted"))
    ok(imap.expunge())
    assert int(ok(imap.select("Work"))[0]) == 0
    assert imap.select("Missing")[0] == "NO"
    ok(imap.select("INBOX"))
    for mailbox in ("Work/2026", "Work", "Older"):
        ok(imap.delete(mailbox))
    ok(imap.noop())
    ok(imap.check())
    imap.logout()
print("  imaplib: plain, STARTTLS, TLS; mailboxes, messages, flags, search, copy, move, append")
