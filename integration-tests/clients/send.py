"""Sends one message to accounts of both clusters with STARTTLS, as a stranger's mail server would."""
import json
import smtplib
import ssl
import sys

endpoints = json.load(open(sys.argv[1]))
domain = endpoints["domain"]
host, port = endpoints["routers"][0]["smtp"].rsplit(":", 1)
good = [f"user1@{domain}", f"user2@{domain}"]
unknown = f"nobody@{domain}"
message = "From: ann@example.net\r\nTo: all\r\nSubject: from Python\r\n\r\nSent by smtplib.\r\n"

context = ssl.create_default_context(cafile=endpoints["ca_certificate"])
with smtplib.SMTP(host, int(port), timeout=20) as smtp:
    smtp.starttls(context=context)
    smtp.ehlo()
    assert not smtp.has_extn("starttls"), "STARTTLS is still offered inside TLS"
    refused = smtp.sendmail("ann@example.net", good + [unknown], message)
    assert list(refused) == [unknown], refused
    assert refused[unknown][0] == 550 and refused[unknown][1].startswith(b"5.1.1"), refused
    try:
        smtp.sendmail("ann@example.net", [unknown], message)
        raise AssertionError("mail for nobody was taken")
    except smtplib.SMTPRecipientsRefused:
        pass
    code, text = smtp.docmd("FROBNICATE")
    assert code == 500 and text.startswith(b"5.5."), (code, text)
    code, text = smtp.docmd("MAIL", "FROM:no brackets")
    assert code == 501 and text.startswith(b"5."), (code, text)
    code, text = smtp.docmd("RCPT", f"TO:<{good[0]}>")
    assert code == 503 and text.startswith(b"5.5.1"), (code, text)

host, port = endpoints["routers"][0]["lmtp"].rsplit(":", 1)
with smtplib.LMTP(host, int(port)) as lmtp:
    # smtplib reads one reply to the data, whatever the number of recipients.
    for address in good:
        lmtp.sendmail("ann@example.net", [address], message)
print("  smtplib: STARTTLS, two clusters in one transaction, unknown refused, LMTP")
