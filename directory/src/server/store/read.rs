//! Look-ups and searches on a snapshot of the tables.

use std::time::Instant;

use redb::{ReadOnlyTable, ReadTransaction};

use super::table::{ENTRIES, INDEX, PATHS, decode, index_prefix, is_indexed, numbers};
use crate::{
    dn::Dn,
    server::{access::Rights, entry::Entry, filter::Filter, refusal::Refusal},
};

/// Candidates of one index value that are worth collecting.
const FEW_MAX: usize = 128;
/// Entries examined between two looks at the clock.
const CLOCK_EVERY: u32 = 256;

/// A snapshot.
pub(in crate::server) struct Reader {
    paths: ReadOnlyTable<&'static str, u64>,
    entries: ReadOnlyTable<u64, &'static [u8]>,
    index: ReadOnlyTable<&'static [u8], ()>,
}

/// What to search.
#[derive(Debug)]
pub(in crate::server) struct Search {
    pub(in crate::server) base: Dn,
    pub(in crate::server) scope: Scope,
    pub(in crate::server) filter: Filter,
    pub(in crate::server) rights: Rights,
    pub(in crate::server) deadline: Instant,
    /// Where an earlier page ended.
    pub(in crate::server) after: Cursor,
    /// Entries wanted at most.
    pub(in crate::server) max: usize,
}

/// How deep below the base (RFC 4511 §4.5.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Scope {
    Base,
    OneLevel,
    Subtree,
    Children,
}

/// A place in the order of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum Cursor {
    Start,
    /// After the entry with this number.
    Number(u64),
    /// After the entry with this path.
    Path(String),
}

/// How a search ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum End {
    Complete,
    /// There are more; go on here.
    More(Cursor),
    TimedOut,
    /// The receiver wanted no more.
    Stopped,
}

/// Where candidates come from.
pub(in crate::server) enum Source {
    /// The base alone.
    Base,
    /// These, in ascending order.
    Few(Vec<u64>),
    /// All under one value of an index, in ascending order.
    Value(Vec<u8>),
    /// Every entry below the base, in the order of paths.
    Tree,
}

impl Reader {
    pub(super) fn open(transaction: &ReadTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            paths: transaction.open_table(PATHS)?,
            entries: transaction.open_table(ENTRIES)?,
            index: transaction.open_table(INDEX)?,
        })
    }

    /// Finds an entry by its name.
    pub(in crate::server) fn find(&self, dn: &Dn) -> Result<Option<Entry>, Refusal> {
        let number = self.paths.get(dn.path().as_str())?.map(|number| number.value());
        number.map_or(Ok(None), |number| self.load(number))
    }

    /// Whether there is an entry of this name.
    pub(in crate::server) fn exists(&self, dn: &Dn) -> Result<bool, Refusal> {
        Ok(self.paths.get(dn.path().as_str())?.is_some())
    }

    /// Decides where the candidates of a search come from.
    pub(in crate::server) fn source(&self, search: &Search) -> Result<Source, Refusal> {
        if search.scope == Scope::Base { Ok(Source::Base) } else { self.plan(&search.filter) }
    }

    /// Gives every entry that matches to `sink`, until it wants no more.
    pub(in crate::server) fn run(
        &self,
        search: &Search,
        source: &Source,
        sink: &mut dyn FnMut(Entry) -> bool,
    ) -> Result<End, Refusal> {
        let mut run = Run { search, base: search.base.path(), sink, sent: 0, last: search.after.clone(), examined: 0 };
        let end = match source {
            Source::Base => self.find(&search.base)?.and_then(|entry| run.offer(entry, Cursor::Start)),
            Source::Few(candidates) => self.run_few(&mut run, candidates)?,
            Source::Value(prefix) => self.run_value(&mut run, prefix)?,
            Source::Tree => self.run_tree(&mut run)?,
        };
        Ok(end.unwrap_or(End::Complete))
    }

    fn run_few(&self, run: &mut Run<'_>, candidates: &[u64]) -> Result<Option<End>, Refusal> {
        let after = run.after_number();
        for number in candidates.iter().copied().filter(|number| *number > after) {
            if let Some(end) = self.offer(run, number, Cursor::Number(number))? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    fn run_value(&self, run: &mut Run<'_>, prefix: &[u8]) -> Result<Option<End>, Refusal> {
        for number in numbers(&self.index, prefix, run.after_number())? {
            let number = number?;
            if let Some(end) = self.offer(run, number, Cursor::Number(number))? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    fn run_tree(&self, run: &mut Run<'_>) -> Result<Option<End>, Refusal> {
        let start = match &run.search.after {
            Cursor::Path(path) if path.starts_with(&run.base) => path.clone(),
            _ => run.base.clone(),
        };
        for item in self.paths.range(start.as_str()..)? {
            let (path, number) = item?;
            let path = path.value();
            if !path.starts_with(&run.base) {
                break;
            }
            if run.search.after == Cursor::Path(path.to_owned()) || !is_in_scope(run.search.scope, &run.base, path) {
                continue;
            }
            if let Some(end) = self.offer(run, number.value(), Cursor::Path(path.to_owned()))? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    fn offer(&self, run: &mut Run<'_>, number: u64, at: Cursor) -> Result<Option<End>, Refusal> {
        Ok(self.load(number)?.and_then(|entry| run.offer(entry, at)))
    }

    fn load(&self, number: u64) -> Result<Option<Entry>, Refusal> {
        self.entries.get(number)?.map(|bytes| decode(bytes.value())).transpose()
    }

    fn plan(&self, filter: &Filter) -> Result<Source, Refusal> {
        match filter {
            Filter::Equal(key, value) if is_indexed(key) => {
                let mut prefix = index_prefix(key, value);
                prefix.push(0);
                Ok(self.few(&prefix)?.map_or(Source::Value(prefix), Source::Few))
            }
            Filter::Substring(key, parts) if is_indexed(key) && !parts.initial.is_empty() => {
                // Numbers under several values are not in order: either they are few and can be sorted, or useless.
                Ok(self.few(&index_prefix(key, &parts.initial))?.map_or(Source::Tree, Source::Few))
            }
            Filter::And(all) => self.plan_and(all),
            Filter::Or(any) => self.plan_or(any),
            Filter::Undefined => Ok(Source::Few(Vec::new())),
            _ => Ok(Source::Tree),
        }
    }

    /// Any part may deliver the candidates of an AND: the fewest are best, and a few are good enough.
    fn plan_and(&self, all: &[Filter]) -> Result<Source, Refusal> {
        let mut parts: Vec<&Filter> = all.iter().collect();
        parts.sort_by_key(|part| is_common(part));
        let mut best = Source::Tree;
        for part in parts {
            match self.plan(part)? {
                Source::Few(few) => return Ok(Source::Few(few)),
                Source::Value(prefix) if matches!(best, Source::Tree) => best = Source::Value(prefix),
                Source::Base | Source::Value(_) | Source::Tree => {}
            }
        }
        Ok(best)
    }

    /// Every part must deliver candidates for an OR.
    fn plan_or(&self, any: &[Filter]) -> Result<Source, Refusal> {
        let mut union = Vec::new();
        for part in any {
            let Source::Few(few) = self.plan(part)? else { return Ok(Source::Tree) };
            union.extend(few);
            if union.len() > FEW_MAX * 64 {
                return Ok(Source::Tree);
            }
        }
        union.sort_unstable();
        union.dedup();
        Ok(Source::Few(union))
    }

    fn few(&self, prefix: &[u8]) -> Result<Option<Vec<u64>>, Refusal> {
        let found = numbers(&self.index, prefix, 0)?.take(FEW_MAX + 1).collect::<Result<Vec<_>, _>>();
        let mut found = found?;
        if found.len() > FEW_MAX {
            return Ok(None);
        }
        found.sort_unstable();
        found.dedup();
        Ok(Some(found))
    }
}

/// Whether a filter is one that many entries share the answer to: worth asking the index last.
fn is_common(filter: &Filter) -> bool {
    match filter {
        Filter::Equal(key, _) => matches!(key.as_str(), "objectclass" | "mailhost"),
        Filter::Or(_) | Filter::And(_) => false,
        _ => true,
    }
}

impl Source {
    /// Whether a search of it will be over within microseconds.
    pub(in crate::server) fn is_quick(&self) -> bool {
        matches!(self, Self::Base | Self::Few(_))
    }
}

/// A search under way.
struct Run<'a> {
    search: &'a Search,
    base: String,
    sink: &'a mut dyn FnMut(Entry) -> bool,
    sent: usize,
    last: Cursor,
    examined: u32,
}

impl Run<'_> {
    /// Examines one candidate; returns how the search ends, if here.
    fn offer(&mut self, entry: Entry, at: Cursor) -> Option<End> {
        self.examined += 1;
        if self.examined.is_multiple_of(CLOCK_EVERY) && Instant::now() >= self.search.deadline {
            return Some(End::TimedOut);
        }
        if !self.is_wanted(&entry) {
            return None;
        }
        if self.sent >= self.search.max {
            return Some(End::More(self.last.clone()));
        }
        self.sent += 1;
        self.last = at;
        if (self.sink)(entry) { None } else { Some(End::Stopped) }
    }

    fn is_wanted(&self, entry: &Entry) -> bool {
        let Search { scope, filter, rights, .. } = self.search;
        rights.may_see(entry)
            && (*scope == Scope::Base
                || Dn::parse(&entry.dn).is_ok_and(|dn| is_in_scope(*scope, &self.base, &dn.path())))
            && filter.matches(entry, rights) == Some(true)
    }

    fn after_number(&self) -> u64 {
        match self.search.after {
            Cursor::Number(number) => number,
            Cursor::Start | Cursor::Path(_) => 0,
        }
    }
}

fn is_in_scope(scope: Scope, base: &str, path: &str) -> bool {
    let Some(rest) = path.strip_prefix(base) else { return false };
    match scope {
        Scope::Base => rest.is_empty(),
        Scope::OneLevel => rest.matches('\0').count() == 1,
        Scope::Subtree => true,
        Scope::Children => !rest.is_empty(),
    }
}
