//! Commands of SMTP and LMTP (RFC 5321 §4.1.1, RFC 2033 §4.1), one line each, without its CRLF.

use super::{
    super::claims::Claims,
    parameter::{MailParameters, RcptParameters},
    path::{ForwardPath, Mailbox, split_path},
};

/// Longest name given with EHLO that is kept (RFC 5321 §4.5.3.1.2).
const HELLO_BYTES_MAX: usize = 255;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// HELO, with the client's name.
    Helo(String),
    /// EHLO, with the client's name.
    Ehlo(String),
    /// LHLO (RFC 2033 §4.1), with the client's name.
    Lhlo(String),
    /// MAIL FROM.
    Mail(Mail),
    /// RCPT TO.
    Rcpt(Rcpt),
    /// DATA.
    Data,
    /// BDAT (RFC 3030), which is not offered.
    Bdat,
    /// RSET.
    Reset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Verify,
    /// EXPN.
    Expand,
    /// HELP.
    Help,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// XCLIENT: what a proxy says of its client (Postfix's `XCLIENT_README`).
    Xclient(Claims),
    /// AUTH (RFC 4954 §4).
    Auth {
        /// The mechanism, in upper case.
        mechanism: String,
        /// The initial response, still encoded.
        initial: Option<Vec<u8>>,
    },
    /// The first line of an HTTP request: somebody makes a browser or a proxy talk to us.
    Http,
}

/// `MAIL FROM:<reverse-path>` and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Where failures are reported; none for `<>`.
    pub reverse_path: Option<Mailbox>,
    /// What the client says about the message.
    pub parameters: MailParameters,
}

/// `RCPT TO:<forward-path>` and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt {
    /// Whom the message is for.
    pub forward_path: ForwardPath,
    /// What the client says about this recipient.
    pub parameters: RcptParameters,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandFault {
    /// No command of that name.
    #[error("unknown command")]
    Unknown,
    /// The command does not look like that.
    #[error("syntax error")]
    Syntax,
    /// The reverse-path is no address.
    #[error("bad sender address")]
    Sender,
    /// The forward-path is no address.
    #[error("bad recipient address")]
    Recipient,
    /// A parameter this server does not know.
    #[error("unknown parameter")]
    Parameter,
    /// A parameter with an impossible value, or given twice.
    #[error("bad parameter value")]
    Value,
}

/// Parses one line, without its CRLF.
///
/// # Errors
/// See [`CommandFault`].
pub fn parse_command(line: &[u8]) -> Result<Command, CommandFault> {
    let text = std::str::from_utf8(line).map_err(|_| CommandFault::Syntax)?;
    if text.chars().any(char::is_control) {
        return Err(CommandFault::Syntax);
    }
    let text = text.trim_end_matches(' ');
    let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
    let argument = argument.trim_start_matches(' ');
    match verb.to_ascii_uppercase().as_str() {
        "HELO" => hello(argument).map(Command::Helo),
        "EHLO" => hello(argument).map(Command::Ehlo),
        "LHLO" => hello(argument).map(Command::Lhlo),
        "MAIL" => mail(argument).map(Command::Mail),
        "RCPT" => rcpt(argument).map(Command::Rcpt),
        "DATA" => alone(argument, Command::Data),
        "RSET" => alone(argument, Command::Reset),
        "QUIT" => alone(argument, Command::Quit),
        "STARTTLS" => alone(argument, Command::StartTls),
        "NOOP" => Ok(Command::Noop),
        "BDAT" => Ok(Command::Bdat),
        "VRFY" => Ok(Command::Verify),
        "EXPN" => Ok(Command::Expand),
        "HELP" => Ok(Command::Help),
        "AUTH" => auth(argument),
        "XCLIENT" if !argument.is_empty() => {
            Claims::of_xclient(argument).map(Command::Xclient).ok_or(CommandFault::Syntax)
        }
        "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "DELETE" | "PATCH" | "TRACE" | "CONNECT" => Ok(Command::Http),
        _ => Err(CommandFault::Unknown),
    }
}

fn alone(argument: &str, command: Command) -> Result<Command, CommandFault> {
    if argument.is_empty() { Ok(command) } else { Err(CommandFault::Syntax) }
}

/// The name is for the `Received` field only and must not be a reason to refuse (RFC 5321 §4.1.4).
fn hello(argument: &str) -> Result<String, CommandFault> {
    let name = argument.split(' ').next().unwrap_or_default();
    if name.is_empty() || name.len() > HELLO_BYTES_MAX {
        return Err(CommandFault::Syntax);
    }
    Ok(name.into())
}

fn mail(argument: &str) -> Result<Mail, CommandFault> {
    let (path, rest) = path_behind("FROM:", argument).map_err(|fault| fault.unwrap_or(CommandFault::Sender))?;
    let reverse_path = match path {
        "" => None,
        text => Some(Mailbox::parse(text).map_err(|_| CommandFault::Sender)?),
    };
    Ok(Mail { reverse_path, parameters: MailParameters::parse(rest)? })
}

fn rcpt(argument: &str) -> Result<Rcpt, CommandFault> {
    let (path, rest) = path_behind("TO:", argument).map_err(|fault| fault.unwrap_or(CommandFault::Recipient))?;
    let forward_path = if path.eq_ignore_ascii_case("postmaster") {
        ForwardPath::Postmaster
    } else {
        ForwardPath::Mailbox(Mailbox::parse(path).map_err(|_| CommandFault::Recipient)?)
    };
    Ok(Rcpt { forward_path, parameters: RcptParameters::parse(rest)? })
}

/// `"AUTH" SP mechanism [SP initial-response]`.
fn auth(argument: &str) -> Result<Command, CommandFault> {
    let (mechanism, initial) = match argument.split_once(' ') {
        Some((mechanism, initial)) => (mechanism, Some(initial.as_bytes().to_vec())),
        None => (argument, None),
    };
    if mechanism.is_empty() {
        return Err(CommandFault::Syntax);
    }
    Ok(Command::Auth { mechanism: mechanism.to_ascii_uppercase(), initial })
}

/// The path behind `FROM:` or `TO:`. Spaces before the bracket are wrong and common; `None` is "no path there".
fn path_behind<'a>(keyword: &str, argument: &'a str) -> Result<(&'a str, &'a str), Option<CommandFault>> {
    let head = argument.get(..keyword.len()).filter(|head| head.eq_ignore_ascii_case(keyword));
    let rest = head.and_then(|_| argument.get(keyword.len()..)).ok_or(Some(CommandFault::Syntax))?;
    split_path(rest.trim_start_matches(' ')).map_err(|_| None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Result<Command, CommandFault> {
        parse_command(line.as_bytes())
    }

    #[test]
    fn verbs_are_read_in_any_case() {
        assert_eq!(parse("ehlo x.example"), Ok(Command::Ehlo("x.example".into())));
        assert_eq!(parse("QuIt  "), Ok(Command::Quit));
        assert_eq!(parse("noop whatever"), Ok(Command::Noop));
        assert_eq!(parse("GET / HTTP/1.1"), Ok(Command::Http));
    }

    #[test]
    fn mail_and_rcpt_carry_addresses_and_parameters() {
        let Ok(Command::Mail(mail)) = parse("MAIL FROM:<a@b.example> SIZE=10") else { panic!() };
        assert_eq!(mail.reverse_path.unwrap().as_str(), "a@b.example");
        assert_eq!(mail.parameters.size, Some(10));
        let Ok(Command::Mail(mail)) = parse("mail from: <>") else { panic!() };
        assert_eq!(mail.reverse_path, None);
        let Ok(Command::Rcpt(rcpt)) = parse("RCPT TO:<POSTMASTER>") else { panic!() };
        assert_eq!(rcpt.forward_path, ForwardPath::Postmaster);
    }

    #[test]
    fn every_fault_has_its_own_name() {
        for (line, fault) in [
            ("", CommandFault::Unknown),
            ("XYZZY", CommandFault::Unknown),
            ("EHLO", CommandFault::Syntax),
            ("DATA now", CommandFault::Syntax),
            ("MAIL <a@b>", CommandFault::Syntax),
            ("MAIL FROM:a@b", CommandFault::Sender),
            ("MAIL FROM:<a>", CommandFault::Sender),
            ("RCPT TO:<>", CommandFault::Recipient),
            ("RCPT TO:<a@b> X=1", CommandFault::Parameter),
            ("MAIL FROM:<a@b> SIZE=x", CommandFault::Value),
            ("NOOP \0", CommandFault::Syntax),
            ("MAIL FROM:<a@b>\rRCPT TO:<c@d>", CommandFault::Syntax),
        ] {
            assert_eq!(parse(line), Err(fault), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_command(&line);
        }

        #[test]
        fn any_argument_is_answered(line in "(MAIL FROM:|RCPT TO:|mail from: )\\PC{0,60}") {
            let _ = parse_command(line.as_bytes());
        }
    }
}
