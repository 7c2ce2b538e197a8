//! Answers to probes of one kind for one account, and the outage they tell of.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Between the starts of two probes of a series.
pub const EVERY: Duration = Duration::from_millis(50);

/// An answer that takes longer is none.
pub const ANSWER_MAX: Duration = Duration::from_secs(1);

/// So many successes one after the other end an outage.
const ENDS_OUTAGE: usize = 3;

/// So many make us believe that it stays so: a second's worth.
const CALM: usize = 20;

/// One probe that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub began: Instant,
    pub ended: Instant,
    /// Whether it was what was asked for, however late.
    pub is_good: bool,
}

impl Answer {
    fn took(&self) -> Duration {
        self.ended - self.began
    }

    fn is_success(&self) -> bool {
        self.is_good && self.took() <= ANSWER_MAX
    }
}

/// The probes of one series by number, in the order of their starts. One that is missing has no answer yet.
#[derive(Debug, Default)]
pub struct Series {
    answers: BTreeMap<u64, Answer>,
}

impl Series {
    pub fn note(&mut self, number: u64, answer: Answer) {
        self.answers.insert(number, answer);
    }

    /// Whether the last second's probes were started after `moment` and all succeeded.
    pub fn is_calm_since(&self, moment: Instant) -> bool {
        let Some((last, _)) = self.answers.last_key_value() else { return false };
        let recent = self.answers.iter().rev().zip((0..=*last).rev()).take(CALM);
        let calm = recent.take_while(|((number, answer), expected)| {
            *number == expected && answer.is_success() && answer.began >= moment
        });
        calm.count() == CALM
    }

    /// How long clients were without service after `moment`: from the start of the first probe that failed to the end of
    /// the first of three successes in a row, for each time that happened. If none failed, the longest answer.
    ///
    /// The probes that had no answer yet must have been noted as failed.
    pub fn outage_since(&self, moment: Instant) -> Duration {
        let answers: Vec<Answer> = self.answers.values().copied().filter(|answer| answer.ended >= moment).collect();
        let mut total = Duration::ZERO;
        let mut failed: Option<Instant> = None;
        for (index, answer) in answers.iter().enumerate() {
            match failed {
                None if !answer.is_success() => failed = Some(answer.began),
                Some(since) if ends_outage(answers.get(index..).unwrap_or_default()) => {
                    total += answer.ended.saturating_duration_since(since);
                    failed = None;
                }
                None | Some(_) => {}
            }
        }
        // It never came back while we looked.
        if let (Some(since), Some(last)) = (failed, answers.iter().map(|answer| answer.ended).max()) {
            total += last - since;
        }
        if total.is_zero() { answers.iter().map(Answer::took).max().unwrap_or_default() } else { total }
    }
}

fn ends_outage(answers: &[Answer]) -> bool {
    answers.len() >= ENDS_OUTAGE && answers.iter().take(ENDS_OUTAGE).all(Answer::is_success)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series of probes every 50 ms, each with how long it took in milliseconds and whether the answer was good.
    fn series(begin: Instant, answers: &[(u64, bool)]) -> Series {
        let mut series = Series::default();
        for (number, (took, is_good)) in (0_u64..).zip(answers) {
            let began = begin + EVERY * u32::try_from(number).unwrap();
            let ended = began + Duration::from_millis(*took);
            series.note(number, Answer { began, ended, is_good: *is_good });
        }
        series
    }

    fn outage(answers: &[(u64, bool)]) -> u128 {
        let begin = Instant::now();
        series(begin, answers).outage_since(begin).as_millis()
    }

    #[test]
    fn an_outage_lasts_from_the_first_failure_to_the_first_of_three_successes() {
        let good = (5, true);
        assert_eq!(outage(&[good, (1, false), (1, false), good, good, good]), 105);
        // Two successes are not enough.
        assert_eq!(outage(&[(1, false), good, good, (1, false), good, good, good]), 205);
    }

    #[test]
    fn a_late_answer_is_a_failure() {
        let waiting =
            [(1_200, true), (1_150, true), (1_100, true), (1_050, true), (1_000, true), (950, true), (900, true)];
        assert_eq!(outage(&waiting), 1_200);
    }

    #[test]
    fn two_outages_count_together() {
        let good = (5, true);
        assert_eq!(outage(&[(1, false), good, good, good, (1, false), good, good, good]), 110);
    }

    #[test]
    fn without_a_failure_the_longest_answer_counts() {
        assert_eq!(outage(&[(5, true), (400, true), (350, true), (5, true)]), 400);
    }

    #[test]
    fn what_never_comes_back_lasts_until_we_stop_looking() {
        assert_eq!(outage(&[(5, true), (1, false), (1, false), (1, false)]), 101);
    }

    #[test]
    fn what_ended_before_the_fault_is_no_consequence_of_it() {
        let begin = Instant::now();
        let series = series(begin, &[(1, false), (5, true), (5, true), (5, true)]);
        assert_eq!(series.outage_since(begin + Duration::from_millis(40)).as_millis(), 5);
    }

    #[test]
    fn it_is_calm_after_a_second_of_successes_and_not_while_one_is_missing() {
        let begin = Instant::now();
        let mut series = series(begin, &[(5, true); CALM + 1]);
        assert!(series.is_calm_since(begin));
        assert!(!series.is_calm_since(begin + Duration::from_millis(60)), "some began before");
        series.answers.remove(&10);
        assert!(!series.is_calm_since(begin));
    }
}
