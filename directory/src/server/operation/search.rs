//! Search (RFC 4511 §4.5), with paging (RFC 2696).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ldap3_proto::{
    LdapResultCode as Code,
    control::LdapControl,
    proto::{LdapOp, LdapPartialAttribute, LdapSearchRequest, LdapSearchResultEntry, LdapSearchScope},
};

use super::{Context, Identity, Response, SEARCH_ENTRIES_MAX, SEARCH_TIME_MAX};
use crate::{
    dn::Dn,
    server::{
        access::Rights,
        entry::Entry,
        filter::Filter,
        refusal::{Refusal, refuse, success},
        root, schema,
        store::{Cursor, End, Reader, Scope, Search, Source},
    },
};

/// Operational attributes that `+` stands for (RFC 3673).
const OPERATIONAL: &[&str] = &[
    "entryUUID",
    "createTimestamp",
    "modifyTimestamp",
    "creatorsName",
    "modifiersName",
    "entryDN",
    "subschemaSubentry",
];

/// A search that may take long.
pub(in crate::server) struct Task {
    reader: Reader,
    source: Source,
    plan: Plan,
}

/// What to search, and how to answer.
pub(in crate::server) struct Plan {
    search: Search,
    wanted: Wanted,
    types_only: bool,
    /// Whether the client pages: then the end carries a cookie.
    paged: bool,
}

/// Which attributes are returned (RFC 4511 §4.5.1.8).
struct Wanted {
    all_user: bool,
    all_operational: bool,
    keys: Vec<String>,
    names: Vec<String>,
}

impl Context {
    pub(super) fn search(
        self: &Arc<Self>,
        identity: &Identity,
        request: LdapSearchRequest,
        controls: &[LdapControl],
    ) -> Response {
        match self.plan(identity, request, controls) {
            Ok(response) => response,
            Err(refusal) => Response::Now(vec![LdapOp::SearchResultDone(refusal.into())]),
        }
    }

    fn plan(
        &self,
        identity: &Identity,
        request: LdapSearchRequest,
        controls: &[LdapControl],
    ) -> Result<Response, Refusal> {
        if let Some(answer) = self.public(&request) {
            return Ok(Response::Now(answer));
        }
        identity.rights.check_search()?;
        let base = self.below_base(&request.base)?;
        let reader = self.store.reader()?;
        if !reader.exists(&base)? {
            return refuse(Code::NoSuchObject, "no such entry");
        }
        let plan = Plan::new(base, request, controls, &identity.rights)?;
        let source = reader.source(&plan.search)?;
        if source.is_quick() {
            let mut answers = Vec::new();
            let done = plan.run(&reader, &source, &mut |op| {
                answers.push(op);
                true
            });
            // A cookie needs a control, which only the connection can attach.
            if done.cookie.is_none() {
                answers.push(done.op);
                return Ok(Response::Now(answers));
            }
        }
        Ok(Response::Search(Box::new(Task { reader, source, plan })))
    }

    /// Answers what anybody may read: the root DSE and the subschema.
    fn public(&self, request: &LdapSearchRequest) -> Option<Vec<LdapOp>> {
        if request.scope != LdapSearchScope::Base {
            return None;
        }
        let entry = match Dn::parse(&request.base).ok()?.path().as_str() {
            "" => root::root_dse(&self.base.to_string(), self.start_tls),
            "cn=subschema\0" => root::subschema(),
            _ => return None,
        };
        let wanted = Wanted::new(&request.attrs);
        let attributes = entry.attributes.into_iter().filter(|a| wanted.has_public(&a.atype)).collect();
        let entry = LdapOp::SearchResultEntry(LdapSearchResultEntry { dn: entry.dn, attributes });
        Some(vec![entry, LdapOp::SearchResultDone(success())])
    }
}

/// The end of a search.
pub(in crate::server) struct Done {
    pub(in crate::server) op: LdapOp,
    /// The cookie of the next page; empty after the last; none if the client does not page.
    pub(in crate::server) cookie: Option<Vec<u8>>,
}

impl Task {
    /// Runs on a thread that may block; `send` says whether the receiver wants more.
    pub(in crate::server) fn run(self, send: &mut dyn FnMut(LdapOp) -> bool) -> Done {
        self.plan.run(&self.reader, &self.source, send)
    }
}

impl Plan {
    fn new(base: Dn, request: LdapSearchRequest, controls: &[LdapControl], rights: &Rights) -> Result<Self, Refusal> {
        let page = controls.iter().find_map(|control| match control {
            LdapControl::SimplePagedResults { size, cookie } => Some((*size, cookie.as_slice())),
            _ => None,
        });
        let after = page.map_or(Ok(Cursor::Start), |(_, cookie)| decode_cookie(cookie))?;
        let time = u64::try_from(request.timelimit).ok().filter(|seconds| *seconds > 0);
        let time = time.map_or(SEARCH_TIME_MAX, Duration::from_secs).min(SEARCH_TIME_MAX);
        let search = Search {
            base,
            scope: scope(&request.scope),
            filter: Filter::prepare(request.filter),
            rights: rights.clone(),
            deadline: Instant::now() + time,
            after,
            max: limit(request.sizelimit, page.map(|(size, _)| size), rights),
        };
        let paged = page.is_some_and(|(size, _)| fits(size) < fits(i64::from(request.sizelimit)));
        Ok(Self { search, wanted: Wanted::new(&request.attrs), types_only: request.typesonly, paged })
    }

    fn run(&self, reader: &Reader, source: &Source, send: &mut dyn FnMut(LdapOp) -> bool) -> Done {
        let end = reader.run(&self.search, source, &mut |entry| {
            send(LdapOp::SearchResultEntry(self.wanted.select(&entry, &self.search.rights, self.types_only)))
        });
        let cookie = |cursor: Option<&Cursor>| self.paged.then(|| cursor.map(encode_cookie).unwrap_or_default());
        let (outcome, cookie) = match end {
            Ok(End::Complete) => (Ok(()), cookie(None)),
            Ok(End::More(next)) if self.paged => (Ok(()), cookie(Some(&next))),
            Ok(End::More(_)) => (refuse(Code::SizeLimitExceeded, "there are more"), None),
            Ok(End::TimedOut) => (refuse(Code::TimeLimitExceeded, "time limit"), None),
            Ok(End::Stopped) => (refuse(Code::Other, "abandoned"), None),
            Err(refusal) => (Err(refusal), None),
        };
        Done { op: LdapOp::SearchResultDone(super::result(outcome)), cookie }
    }
}

fn scope(scope: &LdapSearchScope) -> Scope {
    match scope {
        LdapSearchScope::Base => Scope::Base,
        LdapSearchScope::OneLevel => Scope::OneLevel,
        LdapSearchScope::Subtree => Scope::Subtree,
        LdapSearchScope::Children => Scope::Children,
    }
}

/// Reads a limit of the protocol, where zero and nonsense mean none.
fn fits(limit: i64) -> usize {
    usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX)
}

fn limit(size_limit: i32, page: Option<i64>, rights: &Rights) -> usize {
    let own = if *rights == Rights::Admin { usize::MAX } else { SEARCH_ENTRIES_MAX };
    // RFC 2696 §3: a page that is no smaller than the size limit is no page.
    page.map_or(usize::MAX, fits).min(fits(i64::from(size_limit))).min(own)
}

fn encode_cookie(cursor: &Cursor) -> Vec<u8> {
    match cursor {
        Cursor::Start => Vec::new(),
        Cursor::Number(number) => [b"n".as_slice(), &number.to_be_bytes()].concat(),
        Cursor::Path(path) => [b"p", path.as_bytes()].concat(),
    }
}

fn decode_cookie(cookie: &[u8]) -> Result<Cursor, Refusal> {
    let cursor = match cookie.split_first() {
        None => Some(Cursor::Start),
        Some((b'n', number)) => number.try_into().ok().map(|number| Cursor::Number(u64::from_be_bytes(number))),
        Some((b'p', path)) => std::str::from_utf8(path).ok().map(|path| Cursor::Path(path.to_owned())),
        Some(_) => None,
    };
    cursor.map_or_else(|| refuse(Code::UnwillingToPerform, "an unknown cookie"), Ok)
}

impl Wanted {
    fn new(names: &[String]) -> Self {
        Self {
            all_user: names.is_empty() || names.iter().any(|name| name == "*"),
            all_operational: names.iter().any(|name| name == "+"),
            keys: names.iter().map(|name| schema::key(name)).collect(),
            names: names.to_vec(),
        }
    }

    fn select(&self, entry: &Entry, rights: &Rights, types_only: bool) -> LdapSearchResultEntry {
        let user = entry.attributes.iter().filter_map(|attribute| {
            let key = attribute.name.to_ascii_lowercase();
            let wanted = self.all_user || self.keys.contains(&key);
            (wanted && rights.may_read(entry, &key)).then(|| (attribute.name.clone(), attribute.values.clone()))
        });
        let operational = OPERATIONAL.iter().filter_map(|name| {
            let key = name.to_ascii_lowercase();
            (self.all_operational || self.keys.contains(&key))
                .then(|| (name.to_string(), entry.values(&key).into_owned()))
        });
        let attributes = user
            .chain(operational)
            .map(|(atype, vals)| LdapPartialAttribute { atype, vals: if types_only { Vec::new() } else { vals } })
            .collect();
        LdapSearchResultEntry { dn: entry.dn.clone(), attributes }
    }

    /// The attributes of the root DSE are operational, but everybody who asks for nothing expects some (RFC 4512 §5.1).
    fn has_public(&self, name: &str) -> bool {
        self.all_user || self.all_operational || self.names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    }
}
