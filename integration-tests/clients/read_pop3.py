"""Reads and deletes mail with poplib: plain, STLS and TLS; both clusters."""
import json
import poplib
import ssl
import sys

endpoints = json.load(open(sys.argv[1]))
domain, password = endpoints["domain"], endpoints["password"]
router = endpoints["routers"][0]
context = ssl.create_default_context(cafile=endpoints["ca_certificate"])


def address(service):
    host, port = router[service].rsplit(":", 1)
    return host, int(port)


def login(pop3, name, secret):
    pop3.user(name)
    pop3.pass_(secret)
    return pop3


for name in (f"user1@{domain}", f"user2@{domain}"):
    pop3 = poplib.POP3(*address("pop3"), timeout=20)
    assert "STLS" in pop3.capa(), pop3.capa()
    pop3.stls(context)
    login(pop3, name, password)
    capabilities = pop3.capa()
    for capability in ("UIDL", "TOP"):
        assert capability in capabilities, capabilities
    count, size = pop3.stat()
    assert count >= 1 and size > 0, (count, size)
    assert len(pop3.list()[1]) == count
    identifiers = [line.split()[1] for line in pop3.uidl()[1]]
    assert len(set(identifiers)) == count, identifiers
    assert b"Subject: from Python" in pop3.top(1, 0)[1]
    whole = pop3.retr(1)[1]
    assert b"Sent by smtplib." in whole, whole
    pop3.dele(1)
    pop3.rset()
    assert pop3.stat()[0] == count
    pop3.dele(1)
    pop3.quit()

    pop3 = login(poplib.POP3_SSL(*address("pop3s"), context=context, timeout=20), name, password)
    assert [line.split()[1] for line in pop3.uidl()[1]] == identifiers[1:], "UIDL changed"
    pop3.quit()

    pop3 = poplib.POP3(*address("pop3"), timeout=20)
    try:
        login(pop3, name, "wrong")
        raise AssertionError("a wrong password was taken")
    except poplib.error_proto as error:
        assert b"[AUTH]" in error.args[0], error
    pop3.close()
print("  poplib: plain, STLS, TLS; STAT, LIST, UIDL, TOP, RETR, DELE, RSET")
