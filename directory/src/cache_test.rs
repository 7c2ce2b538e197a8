use super::*;

const AGES: Ages = Ages { fresh: Duration::from_secs(60), unknown: Duration::from_secs(5) };

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn digest(number: u64) -> Digest {
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    digest
}

fn bytes(text: &str) -> Option<Box<[u8]>> {
    Some(text.as_bytes().into())
}

#[test]
fn an_answer_is_fresh_then_aging_then_stale_for_ever() {
    let mut cache = Cache::new(AGES, 10);
    cache.put(digest(1), bytes("eve"), Some(at(100)));
    assert_eq!(cache.find(&digest(1), at(100)), Hit::Fresh(bytes("eve")));
    assert_eq!(cache.find(&digest(1), at(144)), Hit::Fresh(bytes("eve")));
    assert_eq!(cache.find(&digest(1), at(150)), Hit::Aging(bytes("eve").unwrap()));
    assert_eq!(cache.find(&digest(1), at(160)), Hit::Stale(bytes("eve").unwrap()));
    assert_eq!(cache.find(&digest(1), at(1_000_000)), Hit::Stale(bytes("eve").unwrap()));
    assert_eq!(cache.find(&digest(2), at(100)), Hit::Miss);
}

#[test]
fn unknown_is_believed_shortly_and_never_when_stale() {
    let mut cache = Cache::new(AGES, 10);
    cache.put(digest(1), None, Some(at(100)));
    assert_eq!(cache.find(&digest(1), at(104)), Hit::Fresh(None));
    assert_eq!(cache.find(&digest(1), at(105)), Hit::Miss);
    cache.put(digest(1), bytes("eve"), Some(at(105)));
    assert_eq!(cache.find(&digest(1), at(105)), Hit::Fresh(bytes("eve")));
    assert_eq!(cache.len(), 1);
}

#[test]
fn answers_of_an_earlier_process_are_stale() {
    let mut cache = Cache::new(AGES, 10);
    cache.put(digest(1), bytes("eve"), None);
    assert_eq!(cache.find(&digest(1), at(0)), Hit::Stale(bytes("eve").unwrap()));
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_asked_for() {
    let mut cache = Cache::new(AGES, 100);
    for n in 0..100 {
        cache.put(digest(n), bytes("known"), Some(at(1)));
    }
    for n in 1000..1010 {
        cache.put(digest(n), bytes("more"), Some(at(1)));
        assert_ne!(cache.find(&digest(50), at(1)), Hit::Miss, "{n}");
    }
    assert_eq!(cache.len(), 100);
    assert_eq!((0..100).filter(|n| cache.find(&digest(*n), at(1)) != Hit::Miss).count(), 90);
}

#[test]
fn a_flood_of_guesses_drives_out_guesses() {
    let mut cache = Cache::new(AGES, 100);
    for n in 0..90 {
        cache.put(digest(n), bytes("known"), Some(at(1)));
    }
    for n in 1000..3000 {
        cache.put(digest(n), None, Some(at(1)));
        // The known ones are in use.
        for known in (0..90).step_by(1) {
            cache.find(&digest(known), at(1));
        }
    }
    assert_eq!((0..90).filter(|n| cache.find(&digest(*n), at(1)) != Hit::Miss).count(), 90);
}
