//! Dialogues: text files that say what a client sends and what a session answers, for the tests of every crate.
//!
//! ```text
//! # Bytes after STLS in the same packet must never be run inside TLS (CVE-2011-0411).
//! ! tls=offered
//! S: +OK mail.example.org ready
//! C: STLS | USER eve
//! S: -ERR data after STLS
//! ? close
//! ```
//!
//! | line | means |
//! |---|---|
//! | `# …` | a remark |
//! | `! key=value …` | how the session is set up; before everything else |
//! | `C: …` | the client sends this line; ` \| ` puts several into one packet |
//! | `S: …` | the session sends this line |
//! | `? …` | the session asks its driver for something |
//! | `= …` | the driver answers |
//!
//! CRLF follows each line of `C:` unless it ends with `\c`. Escapes: `\r`, `\n`, `\0`, `\\`, `\xHH`, and `\{A*5000}` for
//! 5,000 times `A`. In `S:` and `?` lines `…` stands for anything. Between two lines of the driver's or the client's,
//! the session says exactly what is written, no more and no less.
//!
//! The same file is played against a bare session and against a process over TCP: whatever implements [`Player`].

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
};

/// A session to be played against.
pub trait Player {
    /// Whether it is known that a session has no more to say. Over a network it is not, and silence is not checked.
    const HEARS_SILENCE: bool = true;

    /// The client sends bytes, in one packet.
    fn send(&mut self, bytes: &[u8]);

    /// The driver answers.
    ///
    /// # Errors
    ///
    /// If the text is no answer of this protocol.
    fn answer(&mut self, text: &str) -> Result<(), String>;

    /// Takes the next thing the session does, if it does anything more.
    fn next_said(&mut self) -> Option<Said>;
}

/// What a session does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It sends bytes, perhaps part of a line.
    Bytes(Vec<u8>),
    /// It asks its driver for something.
    Asks(String),
}

/// One dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// How the session is set up.
    pub settings: BTreeMap<String, String>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    line: usize,
    act: Act,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    Send(Vec<u8>),
    Expect(Heard),
    Answer(String),
}

/// One line as it was heard, or as it is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Line(String),
    Ask(String),
}

/// A dialogue that cannot be read, or that went differently.
#[derive(Debug, thiserror::Error)]
pub enum DialogueError {
    /// The file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of the script is none.
    #[error("line {line}: not a line of a dialogue: {text}")]
    Script {
        /// Its number.
        line: usize,
        /// The line.
        text: String,
    },
    /// The driver's answer means nothing to the player.
    #[error("line {line}: {reason}")]
    Answer {
        /// The number of the line.
        line: usize,
        /// What the player says.
        reason: String,
    },
    /// The session said something else.
    #[error("line {line}: expected {expected}\n      heard    {heard}")]
    Differs {
        /// The number of the line.
        line: usize,
        /// What the script says.
        expected: String,
        /// What the session said.
        heard: String,
    },
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    ///
    /// If a line is none of a dialogue.
    pub fn parse(text: &str) -> Result<Self, DialogueError> {
        let mut script = Self { settings: BTreeMap::new(), steps: Vec::new() };
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            let bad = || DialogueError::Script { line, text: text.to_owned() };
            let (mark, rest) = text.split_once(' ').unwrap_or((text, ""));
            let act = match mark {
                "" | "#" => continue,
                "!" => {
                    script.set(rest).ok_or_else(bad)?;
                    continue;
                }
                "C:" => Act::Send(packet(rest).ok_or_else(bad)?),
                "S:" => Act::Expect(Heard::Line(rest.to_owned())),
                "?" => Act::Expect(Heard::Ask(rest.to_owned())),
                "=" => Act::Answer(rest.to_owned()),
                _ => return Err(bad()),
            };
            script.steps.push(Step { line, act });
        }
        Ok(script)
    }

    /// Reads every `*.txt` of a folder, in the order of their names.
    ///
    /// # Errors
    ///
    /// If the folder or a file cannot be read, or a line is none of a dialogue.
    pub fn all_in(folder: &Path) -> Result<Vec<(PathBuf, Self)>, DialogueError> {
        let read = |path: &Path, source| DialogueError::Read { path: path.to_owned(), source };
        let mut scripts = Vec::new();
        for entry in fs::read_dir(folder).map_err(|source| read(folder, source))? {
            let path = entry.map_err(|source| read(folder, source))?.path();
            if path.extension().is_some_and(|extension| extension == "txt") {
                let text = fs::read_to_string(&path).map_err(|source| read(&path, source))?;
                scripts.push((path, Self::parse(&text)?));
            }
        }
        scripts.sort_by(|(left, _), (right, _)| left.cmp(right));
        Ok(scripts)
    }

    /// Plays the script to its end.
    ///
    /// # Errors
    ///
    /// At the first line that goes differently.
    pub fn play(&self, player: &mut impl Player) -> Result<(), DialogueError> {
        let mut ear = Ear::default();
        let mut last = 0;
        for Step { line, act } in &self.steps {
            last = *line;
            match act {
                Act::Expect(expected) => ear.expect(*line, expected, player)?,
                Act::Send(bytes) => {
                    ear.expect_silence(*line, player)?;
                    player.send(bytes);
                }
                Act::Answer(text) => {
                    ear.expect_silence(*line, player)?;
                    player.answer(text).map_err(|reason| DialogueError::Answer { line: *line, reason })?;
                }
            }
        }
        ear.expect_silence(last + 1, player)
    }

    /// Whether the driver takes part: it answers, or is asked for more than to close the connection.
    #[must_use]
    pub fn needs_driver(&self) -> bool {
        self.steps.iter().any(|step| match &step.act {
            Act::Answer(_) => true,
            Act::Expect(Heard::Ask(text)) => text != "close",
            Act::Expect(Heard::Line(_)) | Act::Send(_) => false,
        })
    }

    fn set(&mut self, text: &str) -> Option<()> {
        for word in text.split_whitespace() {
            let (key, value) = word.split_once('=')?;
            self.settings.insert(key.to_owned(), value.to_owned());
        }
        Some(())
    }
}

/// Cuts what a session says into lines.
#[derive(Default)]
struct Ear {
    bytes: Vec<u8>,
    heard: VecDeque<Heard>,
}

impl Ear {
    fn next(&mut self, player: &mut impl Player) -> Option<Heard> {
        while self.heard.is_empty() {
            match player.next_said() {
                Some(Said::Bytes(bytes)) => self.hear(&bytes),
                Some(Said::Asks(text)) => {
                    self.end_line();
                    self.heard.push_back(Heard::Ask(text));
                }
                None => {
                    self.end_line();
                    break;
                }
            }
        }
        self.heard.pop_front()
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        while let Some(end) = memchr::memmem::find(&self.bytes, b"\r\n") {
            let line: Vec<u8> = self.bytes.drain(..end + 2).take(end).collect();
            self.heard.push_back(Heard::Line(readable(&line)));
        }
    }

    /// Bytes without a line end are heard as a line that says so.
    fn end_line(&mut self) {
        if !self.bytes.is_empty() {
            let line = readable(&std::mem::take(&mut self.bytes));
            self.heard.push_back(Heard::Line(line + "\\c"));
        }
    }

    fn expect(&mut self, line: usize, expected: &Heard, player: &mut impl Player) -> Result<(), DialogueError> {
        let heard = self.next(player);
        if heard.as_ref().is_some_and(|heard| expected.matches(heard)) {
            return Ok(());
        }
        let heard = heard.map_or_else(|| "nothing".to_owned(), |heard| heard.show());
        Err(DialogueError::Differs { line, expected: expected.show(), heard })
    }

    fn expect_silence<P: Player>(&mut self, line: usize, player: &mut P) -> Result<(), DialogueError> {
        let heard = if P::HEARS_SILENCE { self.next(player) } else { self.heard.pop_front() };
        match heard {
            None => Ok(()),
            Some(heard) => Err(DialogueError::Differs { line, expected: "nothing more".into(), heard: heard.show() }),
        }
    }
}

impl Heard {
    fn matches(&self, heard: &Self) -> bool {
        match (self, heard) {
            (Self::Line(pattern), Self::Line(text)) | (Self::Ask(pattern), Self::Ask(text)) => fits(pattern, text),
            (Self::Line(_), Self::Ask(_)) | (Self::Ask(_), Self::Line(_)) => false,
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Line(text) => format!("S: {text}"),
            Self::Ask(text) => format!("? {text}"),
        }
    }
}

/// Whether `text` is `pattern`, where `…` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('…') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('…').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(end)
}

fn packet(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in text.split(" | ") {
        match line.strip_suffix("\\c") {
            Some(line) => unescape(line, &mut bytes)?,
            None => {
                unescape(line, &mut bytes)?;
                bytes.extend_from_slice(b"\r\n");
            }
        }
    }
    Some(bytes)
}

fn unescape(mut text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    while let Some((plain, escape)) = text.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let kind = escape.chars().next()?;
        text = escape.get(kind.len_utf8()..)?;
        match kind {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            '0' => bytes.push(0),
            '\\' => bytes.push(b'\\'),
            'x' => {
                bytes.push(u8::from_str_radix(text.get(..2)?, 16).ok()?);
                text = text.get(2..)?;
            }
            '{' => {
                let (what, rest) = text.split_once('}')?;
                let (what, times) = what.rsplit_once('*')?;
                bytes.extend_from_slice(what.repeat(times.parse().ok()?).as_bytes());
                text = rest;
            }
            _ => return None,
        }
    }
    bytes.extend_from_slice(text.as_bytes());
    Some(())
}

/// Writes bytes as text, what is not printable as escapes.
fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every line with itself, and asks for whatever follows `ask `.
    #[derive(Default)]
    struct Parrot(VecDeque<Said>);

    impl Player for Parrot {
        fn send(&mut self, bytes: &[u8]) {
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                self.0.push_back(match line.strip_prefix(b"ask ") {
                    Some(text) => Said::Asks(String::from_utf8_lossy(text).trim_end().to_owned()),
                    None => Said::Bytes(line.to_vec()),
                });
            }
        }

        fn answer(&mut self, text: &str) -> Result<(), String> {
            self.0.push_back(Said::Bytes(text.as_bytes().to_vec()));
            if text == "bad" { Err("no such answer".into()) } else { Ok(()) }
        }

        fn next_said(&mut self) -> Option<Said> {
            self.0.pop_front()
        }
    }

    fn play(text: &str) -> Result<(), String> {
        let script = Script::parse(text).map_err(|error| error.to_string())?;
        script.play(&mut Parrot::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_dialogue_that_goes_as_written_passes() {
        play("# remark\n\nC: a | ask b | c\nS: a\n? b\nS: c\n= d\nS: d\\c").unwrap();
    }

    #[test]
    fn escapes_stand_for_bytes() {
        assert_eq!(packet(r"a\x41\0\r\n\\ | \{b*3}\c").unwrap(), b"aA\0\r\n\\\r\nbbb");
        assert_eq!(packet(r"\q"), None);
    }

    #[test]
    fn too_little_too_much_and_something_else_are_told_apart() {
        assert!(play("C: a\nS: a\nS: b").unwrap_err().contains("nothing"));
        assert!(play("C: a | b\nS: a\nC: c").unwrap_err().contains("S: b"));
        assert!(play("C: a\nS: b").unwrap_err().starts_with("line 2"));
        assert!(play("C: a\n? a").is_err());
        assert!(play("= bad").is_err());
        assert!(play("X: a").is_err());
    }

    #[test]
    fn an_ellipsis_stands_for_anything() {
        assert!(fits("a…c", "abc") && fits("…", "") && fits("a…b…c", "a-b-c"));
        assert!(!fits("a…c", "abcd") && !fits("a…b…c", "a-c"));
    }
}
