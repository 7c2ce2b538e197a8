//! What the cluster's life looks like from outside: log lines and metrics.

use laniakea_directory::MemberName;

use crate::cluster::{ClusterView, Notice, Offence};

/// Tells of a change of role, view or fate.
pub(super) fn tell(me: &MemberName, notice: &Notice) {
    match notice {
        Notice::Adopted(record) => {
            tracing::info!(member = %me, term = record.term, controller = %record.controller, "a term was adopted");
        }
        Notice::Won(term) => {
            metrics::counter!("laniakea_cluster_terms_won_total").increment(1);
            tracing::info!(member = %me, term, "won the term, gathering the members");
        }
        Notice::Granting { term, owned } => {
            tracing::info!(member = %me, term, owned, "all members are registered or fenced, granting");
        }
        Notice::Deposed(term) => tracing::warn!(member = %me, term, "a higher term exists, no longer the controller"),
        Notice::Condemned { incarnation, offence } => {
            tracing::warn!(member = %me, %incarnation, why = why(*offence), "a member is to be fenced");
        }
        Notice::Fencing(incarnation) => tracing::info!(member = %me, %incarnation, "fencing"),
        Notice::Fenced(incarnation) => {
            metrics::counter!("laniakea_cluster_fences_total").increment(1);
            tracing::info!(member = %me, %incarnation, "fenced: what it owned may be granted");
        }
        Notice::Lost { incarnation, how } => tracing::info!(member = %me, %incarnation, ?how, "a fellow is gone"),
        Notice::Stalled(stood) => {
            tracing::warn!(member = %me, stood_ms = stood.as_millis(), "this process stood still, judging nobody");
        }
        Notice::ArbiterFailed(what) => tracing::warn!(member = %me, what, "the cluster's directory could not be used"),
    }
}

/// Tells of a new view.
pub(super) fn show(view: &ClusterView) {
    let members: Vec<_> = view.members.iter().map(|member| format!("{}.{}", member.name, member.incarnation)).collect();
    tracing::info!(
        member = %view.member,
        term = view.term,
        controller = view.controller.as_ref().map(tracing::field::display),
        registered = view.registered,
        members = members.join(" "),
        "the view has changed"
    );
    metrics::gauge!("laniakea_cluster_members_count").set(f64::from(u32::try_from(members.len()).unwrap_or(u32::MAX)));
    // Terms are few: far below what a float holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "terms are counted in thousands at most")]
    metrics::gauge!("laniakea_cluster_term_number").set(view.term as f64);
    metrics::gauge!("laniakea_cluster_controller_count").set(if view.is_controller() { 1.0 } else { 0.0 });
}

/// Tells what the controller did since it was asked last.
pub(super) fn controller(granted: u64, owned: usize) {
    metrics::counter!("laniakea_cluster_grants_total").increment(granted);
    metrics::gauge!("laniakea_cluster_owned_count").set(f64::from(u32::try_from(owned).unwrap_or(u32::MAX)));
}

const fn why(offence: Offence) -> &'static str {
    match offence {
        Offence::KeptRecalled => "it did not release in time what was recalled",
        Offence::ContradictsTable => "what it claims to own contradicts the table",
        Offence::NotRegistered => "it did not register in time",
        Offence::CutOff => "it is cut off from the winning side",
        Offence::NoStorage => "it does not reach the storage",
    }
}
