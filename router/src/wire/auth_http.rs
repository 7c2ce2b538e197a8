//! What nginx's mail proxy asks before it passes a client on, and how it is answered (`ngx_mail_auth_http_module`).
//!
//! A question is the head of an HTTP request, an answer the head of a response; there are no bodies. nginx passes the
//! text of a refusal on to the client behind `NO` or `-ERR`, so it carries the codes of the protocol.

use std::net::IpAddr;

use super::smtp::{Command, ForwardPath, Mailbox, Reply, parse_command};

/// How long a client that was refused waits for the refusal; without it nginx ends the connection, and with it the
/// other recipients.
const WAIT_SECONDS: &str = "1";

/// What nginx wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Where a client that wants to log in is to be sent; whoever it is sent to checks the password.
    Login {
        /// What the client speaks.
        protocol: MailProtocol,
        /// The name it gave.
        login: Vec<u8>,
    },
    /// Where mail for this recipient is to be sent.
    Recipient(Mailbox),
}

/// What a client of nginx speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailProtocol {
    /// IMAP.
    Imap,
    /// POP3.
    Pop3,
    /// SMTP.
    Smtp,
}

/// Why a request is no question that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unasked {
    /// A header is missing or malformed.
    #[error("the header {0} is missing or malformed")]
    Header(&'static str),
    /// APOP, CRAM-MD5 and the like, which need the password itself.
    #[error("this method of authentication is not supported")]
    Method,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send the client there; nginx takes addresses only, no names.
    Go(IpAddr, u16),
    /// Tell the client this, behind `NO` or `-ERR`: a text with its code in brackets.
    Refuse(String),
    /// Tell the client this, in SMTP.
    Reply(Reply),
}

impl Question {
    /// Reads a question; `header` finds the value of a header.
    ///
    /// # Errors
    ///
    /// See [`Unasked`].
    pub fn read<'a>(header: impl Fn(&'static str) -> Option<&'a [u8]>) -> Result<Self, Unasked> {
        let value = |name: &'static str| header(name).ok_or(Unasked::Header(name));
        let protocol = match value("Auth-Protocol")? {
            b"imap" => MailProtocol::Imap,
            b"pop3" => MailProtocol::Pop3,
            b"smtp" => MailProtocol::Smtp,
            _ => return Err(Unasked::Header("Auth-Protocol")),
        };
        match (value("Auth-Method")?, protocol) {
            (b"plain", _) => {
                let login = decode(value("Auth-User")?).ok_or(Unasked::Header("Auth-User"))?;
                Ok(Self::Login { protocol, login })
            }
            (b"none", MailProtocol::Smtp) => recipient(value("Auth-SMTP-To")?).map(Self::Recipient),
            _ => Err(Unasked::Method),
        }
    }
}

impl Answer {
    /// Writes the headers of the response.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Go(ip, port) => {
                vec![("Auth-Status", "OK".to_owned()), ("Auth-Server", ip.to_string()), ("Auth-Port", port.to_string())]
            }
            Self::Refuse(text) => vec![("Auth-Status", text.clone()), ("Auth-Wait", WAIT_SECONDS.to_owned())],
            Self::Reply(reply) => {
                let enhanced = reply.enhanced.map(|code| format!(" {code}")).unwrap_or_default();
                let text = reply.lines.first().map(|line| line.to_string()).unwrap_or_default();
                vec![
                    ("Auth-Status", text),
                    ("Auth-Error-Code", format!("{}{enhanced}", reply.code)),
                    ("Auth-Wait", WAIT_SECONDS.to_owned()),
                ]
            }
        }
    }
}

/// The whole RCPT command, as the client gave it.
fn recipient(command: &[u8]) -> Result<Mailbox, Unasked> {
    match parse_command(command) {
        Ok(Command::Rcpt(rcpt)) => match rcpt.forward_path {
            ForwardPath::Mailbox(mailbox) => Ok(mailbox),
            ForwardPath::Postmaster => Err(Unasked::Header("Auth-SMTP-To")),
        },
        _ => Err(Unasked::Header("Auth-SMTP-To")),
    }
}

/// nginx writes spaces, control characters and `%` as `%XX`.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_first_chunk::<2>()?;
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            decoded.push(digit(digits[0])? << 4 | digit(digits[1])?);
            rest = after;
        } else {
            decoded.push(*byte);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)]) -> Result<Question, Unasked> {
        let find = |name: &str| headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_bytes());
        Question::read(find)
    }

    #[test]
    fn a_login_is_asked_for_by_name() {
        let asked = |user| read(&[("Auth-Protocol", "imap"), ("Auth-Method", "plain"), ("Auth-User", user)]);
        let login = |login: &str| Question::Login { protocol: MailProtocol::Imap, login: login.into() };
        assert_eq!(asked("eve"), Ok(login("eve")));
        assert_eq!(asked("e%20v%25e%0d%0A"), Ok(login("e v%e\r\n")));
        for user in ["%", "%2", "%zz", "a%+1"] {
            assert_eq!(asked(user), Err(Unasked::Header("Auth-User")), "{user}");
        }
    }

    #[test]
    fn mail_is_asked_for_by_recipient() {
        let asked = |to| read(&[("Auth-Protocol", "smtp"), ("Auth-Method", "none"), ("Auth-SMTP-To", to)]);
        let Ok(Question::Recipient(mailbox)) = asked("RCPT TO:<a@x.example> NOTIFY=NEVER") else { panic!() };
        assert_eq!(mailbox.as_str(), "a@x.example");
        for to in ["", "a@x.example", "MAIL FROM:<a@x.example>", "RCPT TO:<a@x.example>\r\nDATA"] {
            assert!(asked(to).is_err(), "{to}");
        }
    }

    #[test]
    fn what_needs_the_password_itself_is_refused() {
        for method in ["apop", "cram-md5", "external"] {
            assert_eq!(read(&[("Auth-Protocol", "pop3"), ("Auth-Method", method)]), Err(Unasked::Method));
        }
        assert_eq!(read(&[("Auth-Protocol", "imap"), ("Auth-Method", "none")]), Err(Unasked::Method));
        assert_eq!(read(&[("Auth-Protocol", "nntp")]), Err(Unasked::Header("Auth-Protocol")));
        assert_eq!(read(&[]), Err(Unasked::Header("Auth-Protocol")));
    }

    #[test]
    fn answers_are_headers() {
        let go = Answer::Go("192.0.2.1".parse().unwrap(), 143).headers();
        assert_eq!(
            go,
            [("Auth-Status", "OK".into()), ("Auth-Server", "192.0.2.1".into()), ("Auth-Port", "143".into())]
        );
        let reply = Answer::Reply(Reply::new(550, (5, 1, 1), "no such account")).headers();
        let expected = [("Auth-Status", "no such account"), ("Auth-Error-Code", "550 5.1.1"), ("Auth-Wait", "1")];
        assert_eq!(reply, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
