//! The file as a person typed it: values read by serde_yaml, each with the place where saphyr-parser saw it.
//!
//! serde_yaml alone decides what a value *is*; the second parser is only asked *where* it stands. Should the two ever
//! disagree about the structure, a value gets the place of what encloses it, and nothing else goes wrong. Duplicate
//! keys are kept, so that they can be reported beside all other faults.

use std::{collections::BTreeMap, fmt, rc::Rc};

use saphyr_parser::{Event, Parser, Span};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use crate::fault::{Fault, Place};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a YAML value is, before anything is known about what it should be.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing after the colon, or `null`.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A number that is written without a point or sign.
    Count(u64),
    /// Any other number, as text.
    Number(String),
    /// Text, quoted or not.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the order of the file, duplicates included.
    Table(Vec<(Node, Node)>),
}

impl Node {
    /// Reads the one document of `text`.
    ///
    /// # Errors
    /// A fault that says where the text stops being YAML.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let value: Loose = serde_yaml::from_str(text).map_err(|error| syntax_fault(&error, text))?;
        let map = Map::of(text);
        let start = Place { line: 1, column: 1, length: 1 };
        Ok(join(value, map.as_deref(), start))
    }

    /// What kind of thing this is, for messages: `the text "x"`, `a list` …
    #[must_use]
    pub fn kind(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Flag(value) => format!("`{value}`"),
            Value::Count(value) => format!("the number {value}"),
            Value::Number(value) => format!("the number {value}"),
            Value::Text(value) => format!("the text `{value}`"),
            Value::List(_) => "a list".into(),
            Value::Table(_) => "a table of keys and values".into(),
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::Flag(_) | Value::Count(_) | Value::Number(_) | Value::List(_) | Value::Table(_) => {
                None
            }
        }
    }

    /// The elements of a list; nothing for anything else.
    #[must_use]
    pub fn elements(&self) -> &[Self] {
        match &self.value {
            Value::List(list) => list,
            Value::Null | Value::Flag(_) | Value::Count(_) | Value::Number(_) | Value::Text(_) | Value::Table(_) => &[],
        }
    }

    /// The entries of a table; nothing for anything else.
    #[must_use]
    pub fn entries(&self) -> &[(Self, Self)] {
        match &self.value {
            Value::Table(table) => table,
            Value::Null | Value::Flag(_) | Value::Count(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => &[],
        }
    }

    /// The value under `key`, unless it is missing or empty.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let (_, value) = self.entries().iter().find(|(name, _)| name.text() == Some(key))?;
        (!matches!(value.value, Value::Null)).then_some(value)
    }
}

/// A value without its place, as serde hands it over.
#[derive(Debug)]
enum Loose {
    Null,
    Flag(bool),
    Count(u64),
    Number(String),
    Text(String),
    List(Vec<Self>),
    Table(Vec<(Self, Self)>),
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Loose;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("text, a number, a list or a table")
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Loose, E> {
        Ok(Loose::Flag(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Loose, E> {
        Ok(Loose::Count(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Loose, E> {
        Ok(u64::try_from(value).map_or_else(|_| Loose::Number(value.to_string()), Loose::Count))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Loose, E> {
        Ok(Loose::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Loose, E> {
        Ok(Loose::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Loose, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = access.next_element()? {
            list.push(value);
        }
        Ok(Loose::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Loose, A::Error> {
        let mut table = Vec::new();
        while let Some(entry) = access.next_entry()? {
            table.push(entry);
        }
        Ok(Loose::Table(table))
    }
}

/// Where everything stands: the same tree without values.
#[derive(Debug)]
struct Map {
    place: Place,
    /// Elements of a list, or key, value, key, value … of a table.
    children: Vec<Rc<Self>>,
}

impl Map {
    /// Reads the places of the first document; `None` where the second parser sees no document.
    fn of(text: &str) -> Option<Rc<Self>> {
        let mut parser = Parser::new_from_str(text);
        let mut anchors = BTreeMap::new();
        loop {
            let (event, span) = parser.next_event()?.ok()?;
            if !matches!(event, Event::StreamStart | Event::DocumentStart(_) | Event::Nothing) {
                return Self::read(&mut parser, &event, span, &mut anchors);
            }
        }
    }

    fn read<'a, I: saphyr_parser::Input>(
        parser: &mut Parser<'a, I>,
        event: &Event<'a>,
        span: Span,
        anchors: &mut BTreeMap<usize, Rc<Self>>,
    ) -> Option<Rc<Self>> {
        let (anchor, is_end): (usize, fn(&Event<'_>) -> bool) = match event {
            Event::Alias(id) => return anchors.get(id).cloned(),
            Event::Scalar(_, _, anchor, _) => {
                let map = Rc::new(Self { place: place_of(span), children: Vec::new() });
                anchors.insert(*anchor, Rc::clone(&map));
                return Some(map);
            }
            Event::SequenceStart(anchor, _) => (*anchor, |event| matches!(event, Event::SequenceEnd)),
            Event::MappingStart(anchor, _) => (*anchor, |event| matches!(event, Event::MappingEnd)),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return None,
        };
        let mut children = Vec::new();
        loop {
            let (event, child_span) = parser.next_event()?.ok()?;
            if is_end(&event) {
                break;
            }
            children.push(Self::read(parser, &event, child_span, anchors)?);
        }
        let map = Rc::new(Self { place: place_of(span), children });
        anchors.insert(anchor, Rc::clone(&map));
        Some(map)
    }
}

fn place_of(span: Span) -> Place {
    let (start, end) = (&span.start, &span.end);
    let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 1 };
    Place { line: start.line().max(1), column: start.col() + 1, length: length.max(1) }
}

fn join(value: Loose, map: Option<&Map>, outer: Place) -> Node {
    let place = map.map_or(outer, |map| map.place);
    let child = |index: usize| map.and_then(|map| map.children.get(index)).map(Rc::as_ref);
    let value = match value {
        Loose::Null => Value::Null,
        Loose::Flag(value) => Value::Flag(value),
        Loose::Count(value) => Value::Count(value),
        Loose::Number(value) => Value::Number(value),
        Loose::Text(value) => Value::Text(value),
        Loose::List(list) => {
            Value::List(list.into_iter().enumerate().map(|(index, value)| join(value, child(index), place)).collect())
        }
        Loose::Table(table) => {
            let entry = |(index, (key, value))| {
                let key = join(key, child(2 * index), place);
                let value = join(value, child(2 * index + 1), key.place);
                (key, value)
            };
            Value::Table(table.into_iter().enumerate().map(entry).collect())
        }
    };
    Node { place, value }
}

fn syntax_fault(error: &serde_yaml::Error, text: &str) -> Fault {
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or(&message);
    let Some(location) = error.location() else {
        return Fault::of_file(format!("this is not YAML: {what}"));
    };
    let place = Place { line: location.line().max(1), column: location.column().max(1), length: 1 };
    let line = text.lines().nth(place.line - 1).unwrap_or_default();
    let fault = Fault::at(place, format!("this is not YAML: {what}")).expected("`key: value` pairs, nested by spaces");
    if line.contains('\t') {
        fault.suggest("YAML is indented by spaces; this line has a tab")
    } else {
        fault.suggest("look at the indentation of this line and the one above, and at quotes and brackets left open")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_where_it_stands() {
        let node = Node::parse("# a comment\nrouters:\n  - name: router-1\n    listen: {imap: 1}\n").unwrap();
        let router = &node.get("routers").unwrap().elements()[0];
        assert_eq!(router.get("name").unwrap().place, Place { line: 3, column: 11, length: 8 });
        let (key, value) = &router.get("listen").unwrap().entries()[0];
        assert_eq!((key.place.line, key.place.column, value.place.column), (4, 14, 20));
    }

    #[test]
    fn aliases_stand_where_their_anchor_stands() {
        let node = Node::parse("a: &x {b: 1}\nc: *x\n").unwrap();
        assert_eq!(node.get("c").unwrap().get("b").unwrap().place.line, 1);
    }

    #[test]
    fn text_that_is_not_yaml_says_on_which_line() {
        let fault = Node::parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(fault.place.unwrap().line >= 2, "{fault:?}");
        let fault = Node::parse("a:\n\tb: 1\n").unwrap_err();
        assert!(fault.suggestion.unwrap().contains("tab"));
    }

    #[test]
    fn exploding_aliases_are_refused() {
        let mut text = String::from("a: &a [x, x, x, x, x, x, x, x, x, x]\n");
        for (this, next) in ('a'..'i').zip('b'..='i') {
            text.push_str(&format!("{next}: &{next} [{}]\n", vec![format!("*{this}"); 10].join(", ")));
        }
        assert!(Node::parse(&text).is_err());
    }
}
