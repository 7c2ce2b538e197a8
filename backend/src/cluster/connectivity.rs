//! The connectivity rule: who goes on when members cannot all reach one another.
//!
//! Policy only. Whatever this decides, the fence keeps two owners apart; it only decides whom to fence, and everybody must
//! decide alike, which is why it is a function of the published graph and nothing else.

use std::collections::BTreeMap;

use super::Slots;

/// Who sees whom: for each living member, the fellows that answer it.
pub type Graph = BTreeMap<u8, Slots>;

/// Most members for which the largest side is searched exhaustively; a cluster has far fewer.
const EXHAUSTIVE_MAX: usize = 24;

/// The side that goes on: the largest set of members that all see one another; among equals the one with the
/// controller; among those the one with the lowest slots.
#[must_use]
pub fn winning_side(graph: &Graph, controller: Option<u8>) -> Slots {
    let mutual = mutual(graph);
    let everybody: Slots = mutual.keys().copied().collect();
    if mutual.len() > EXHAUSTIVE_MAX {
        return greedy(&mutual, everybody, controller);
    }
    let mut best = Slots::NONE;
    grow(&mutual, Slots::NONE, everybody, &mut |side| {
        if rank(side, controller) > rank(best, controller) {
            best = side;
        }
    });
    best
}

/// Keeps only what both ends say, and nobody beside himself.
fn mutual(graph: &Graph) -> Graph {
    graph
        .iter()
        .map(|(slot, sees)| {
            let agreed = sees.iter().filter(|other| graph.get(other).is_some_and(|back| back.contains(*slot)));
            (*slot, agreed.collect::<Slots>().without(*slot))
        })
        .collect()
}

/// Calls `found` with every set of members that all see one another and that nobody can be added to.
fn grow(mutual: &Graph, side: Slots, mut candidates: Slots, found: &mut impl FnMut(Slots)) {
    if candidates.is_empty() {
        return found(side);
    }
    // Whoever sees all other candidates is in every largest set: take it without a choice.
    let agreed = candidates.iter().find(|slot| sees(mutual, *slot).with(*slot).and(candidates) == candidates);
    if let Some(slot) = agreed {
        return grow(mutual, side.with(slot), candidates.without(slot), found);
    }
    while let Some(slot) = candidates.iter().next() {
        candidates = candidates.without(slot);
        grow(mutual, side.with(slot), candidates.and(sees(mutual, slot)), found);
    }
}

/// For absurdly many members: the controller's side, grown in the order of slots.
fn greedy(mutual: &Graph, everybody: Slots, controller: Option<u8>) -> Slots {
    let first = controller.filter(|slot| everybody.contains(*slot)).or_else(|| everybody.iter().next());
    let mut side = Slots::NONE;
    for slot in first.into_iter().chain(everybody.iter()) {
        if sees(mutual, slot).and(side) == side.without(slot) {
            side = side.with(slot);
        }
    }
    side
}

fn sees(mutual: &Graph, slot: u8) -> Slots {
    mutual.get(&slot).copied().unwrap_or_default()
}

/// Orders sides: size, then the controller's, then the lowest slots.
fn rank(side: Slots, controller: Option<u8>) -> (u32, bool, u64) {
    (side.len(), controller.is_some_and(|slot| side.contains(slot)), side.0.reverse_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(u8, u8)], members: u8) -> Graph {
        let mut graph: Graph = (0..members).map(|slot| (slot, Slots::NONE)).collect();
        for (one, other) in edges {
            *graph.get_mut(one).unwrap() = graph[one].with(*other);
            *graph.get_mut(other).unwrap() = graph[other].with(*one);
        }
        graph
    }

    fn side(slots: &[u8]) -> Slots {
        slots.iter().copied().collect()
    }

    #[test]
    fn the_larger_side_goes_on_without_its_controller() {
        assert_eq!(winning_side(&graph(&[(1, 2)], 3), Some(0)), side(&[1, 2]));
    }

    #[test]
    fn of_two_halves_the_controllers_goes_on() {
        assert_eq!(winning_side(&graph(&[(0, 1), (2, 3)], 4), Some(3)), side(&[2, 3]));
        assert_eq!(winning_side(&graph(&[(0, 1), (2, 3)], 4), None), side(&[0, 1]));
    }

    #[test]
    fn what_only_one_end_says_is_no_connection() {
        let mut one_way = graph(&[], 2);
        one_way.insert(0, side(&[1]));
        assert_eq!(winning_side(&one_way, Some(1)), side(&[1]));
    }

    #[test]
    fn one_broken_pair_costs_one_member_and_never_the_controller() {
        let mut all: Vec<_> = (0..5).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
        all.retain(|pair| *pair != (4, 3));
        assert_eq!(winning_side(&graph(&all, 5), Some(4)), side(&[0, 1, 2, 4]));
        assert_eq!(winning_side(&graph(&all, 5), Some(0)), side(&[0, 1, 2, 3]));
    }

    #[test]
    fn the_last_survivor_is_the_winning_side() {
        assert_eq!(winning_side(&graph(&[], 1), None), side(&[0]));
        assert_eq!(winning_side(&Graph::new(), None), Slots::NONE);
    }

    #[test]
    fn the_search_finds_what_trying_all_sets_finds() {
        let mut state = 1_u64;
        for _ in 0..300 {
            let edges: Vec<_> = (0..7_u8)
                .flat_map(|a| (0..a).map(move |b| (a, b)))
                .filter(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state >> 33 & 3 != 0
                })
                .collect();
            let graph = graph(&edges, 7);
            let connected = |set: Slots| set.iter().all(|slot| graph[&slot].with(slot).and(set) == set);
            let best = (0..128).map(Slots).filter(|set| connected(*set)).max_by_key(|set| rank(*set, Some(3)));
            assert_eq!(winning_side(&graph, Some(3)), best.unwrap(), "{edges:?}");
        }
    }
}
