//! Who may open an account now: a member that inherits a hundred thousand of them is not to be overrun.
//!
//! So many are opened at once, and no more; the others stand in line, those first for whom somebody waits: a client at its
//! login, the sender of a delivery. Work that nobody waits for comes behind them, however long it has stood there. The line
//! has a bound, and who finds it full is told to come again: that is never wrong, only late.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::cluster::OwnableId;

/// Who waits for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// A client, or the sender of a delivery.
    Awaited,
    /// Nobody: the queue tries again, for example.
    Background,
}

/// The line before a member's accounts is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("open: too many accounts are being opened")]
pub struct Crowded;

/// The door to a member's accounts.
#[derive(Debug)]
pub struct Admission {
    line: Mutex<Line>,
}

/// Lets one account be opened; the next one follows when it is dropped.
#[derive(Debug)]
pub struct Admitted<'a>(&'a Admission);

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Admission {
    /// Opens `at_once` at a time and lets `waiting_max` wait.
    #[must_use]
    pub fn new(at_once: usize, waiting_max: usize) -> Self {
        let line = Line { room: at_once, waiting_max, tickets: HashMap::new(), order: <_>::default() };
        Self { line: Mutex::new(line) }
    }

    /// Waits for one's turn.
    ///
    /// # Errors
    /// When too many wait already.
    pub async fn enter(&self, ownable: OwnableId, urgency: Urgency) -> Result<Admitted<'_>, Crowded> {
        let Some(turn) = self.line.lock().enter(ownable, urgency)? else { return Ok(Admitted(self)) };
        let mut waiting = Waiting { admission: self, turn: Some(turn) };
        if let Some(turn) = &mut waiting.turn {
            // The other end is dropped only when it has called.
            let _ = turn.await;
        }
        waiting.turn = None;
        Ok(Admitted(self))
    }

    /// Somebody waits for this one now.
    pub fn hurry(&self, ownable: OwnableId) {
        self.line.lock().hurry(ownable);
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.line.lock().tickets.len()
    }

    fn leave(&self) {
        self.line.lock().leave();
    }
}

/// One who waits and may go away.
struct Waiting<'a> {
    admission: &'a Admission,
    turn: Option<oneshot::Receiver<()>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(mut turn) = self.turn.take() else { return };
        turn.close();
        // Called in the very moment of going: the turn is the next one's.
        if turn.try_recv().is_ok() {
            self.admission.leave();
        }
    }
}

/// The line itself.
#[derive(Debug)]
struct Line {
    /// How many more may be opened now.
    room: usize,
    waiting_max: usize,
    tickets: HashMap<OwnableId, (Urgency, oneshot::Sender<()>)>,
    /// Who is next, awaited ones first. A name that was moved up, or has gone, is passed over.
    order: [VecDeque<OwnableId>; 2],
}

impl Line {
    /// `None` if there is room at once.
    fn enter(&mut self, ownable: OwnableId, urgency: Urgency) -> Result<Option<oneshot::Receiver<()>>, Crowded> {
        if self.room > 0 {
            self.room -= 1;
            return Ok(None);
        }
        // Who has gone makes room; looked for only when it matters.
        if self.tickets.len() >= self.waiting_max {
            self.tickets.retain(|_, (_, turn)| !turn.is_closed());
            let tickets = &self.tickets;
            self.order.iter_mut().for_each(|order| order.retain(|one| tickets.contains_key(one)));
        }
        if self.tickets.len() >= self.waiting_max {
            return Err(Crowded);
        }
        let (call, turn) = oneshot::channel();
        self.tickets.insert(ownable, (urgency, call));
        self.stand(ownable, urgency);
        Ok(Some(turn))
    }

    fn stand(&mut self, ownable: OwnableId, urgency: Urgency) {
        let [awaited, background] = &mut self.order;
        match urgency {
            Urgency::Awaited => awaited.push_back(ownable),
            Urgency::Background => background.push_back(ownable),
        }
    }

    fn hurry(&mut self, ownable: OwnableId) {
        let Some((urgency, _)) = self.tickets.get_mut(&ownable) else { return };
        if std::mem::replace(urgency, Urgency::Awaited) == Urgency::Background {
            self.stand(ownable, Urgency::Awaited);
        }
    }

    /// The next one's turn; without one there is more room.
    fn leave(&mut self) {
        while let Some(next) = self.order.iter_mut().find_map(VecDeque::pop_front) {
            let Some((_, call)) = self.tickets.remove(&next) else { continue };
            if call.send(()).is_ok() {
                return;
            }
        }
        self.room += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::fixture::account;

    /// Lets one enter in a task of its own, and notes when it is in.
    fn stand(door: &Arc<Admission>, number: u128, urgency: Urgency, entered: &Arc<Mutex<Vec<u128>>>) {
        let (door, entered) = (door.clone(), entered.clone());
        tokio::spawn(async move {
            let _in = door.enter(account(number), urgency).await;
            entered.lock().push(number);
            tokio::task::yield_now().await;
        });
    }

    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_is_awaited_goes_first_and_who_becomes_so_moves_up() {
        let (door, entered) = (Arc::new(Admission::new(1, 10)), Arc::default());
        let first = door.enter(account(0), Urgency::Background).await.unwrap();
        for (number, urgency) in [(1, Urgency::Background), (2, Urgency::Background), (3, Urgency::Awaited)] {
            stand(&door, number, urgency, &entered);
            settle().await;
        }
        door.hurry(account(2));
        drop(first);
        settle().await;
        assert_eq!(*entered.lock(), [3, 2, 1]);
        assert_eq!(door.line.lock().room, 1);
    }

    #[tokio::test]
    async fn a_full_line_says_so_and_who_goes_away_leaves_room() {
        let door = Arc::new(Admission::new(2, 3));
        let _inside =
            (door.enter(account(0), Urgency::Awaited).await.unwrap(), door.enter(account(1), Urgency::Awaited).await);
        let waiting: Vec<_> = (2..5)
            .map(|number| {
                let door = door.clone();
                tokio::spawn(async move { door.enter(account(number), Urgency::Background).await.is_ok() })
            })
            .collect();
        settle().await;
        assert_eq!(door.enter(account(9), Urgency::Awaited).await.err(), Some(Crowded));
        waiting[0].abort();
        settle().await;
        let (door, entered) = (door.clone(), Arc::default());
        stand(&door, 9, Urgency::Awaited, &entered);
        settle().await;
        assert_eq!(door.waiting(), 3);
    }

    #[tokio::test]
    async fn never_more_than_so_many_are_inside_and_none_is_forgotten() {
        let door = Arc::new(Admission::new(4, 100_000));
        let inside = Arc::new(Mutex::new((0_usize, 0_usize)));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..10_000_u128 {
            let (door, inside) = (door.clone(), inside.clone());
            tasks.spawn(async move {
                let urgency = if number % 3 == 0 { Urgency::Awaited } else { Urgency::Background };
                let place = door.enter(account(number), urgency).await.unwrap();
                {
                    let mut inside = inside.lock();
                    inside.0 += 1;
                    inside.1 = inside.1.max(inside.0);
                }
                tokio::task::yield_now().await;
                inside.lock().0 -= 1;
                drop(place);
            });
        }
        // Some give up, perhaps in the moment of their turn.
        for number in 20_000..21_000_u128 {
            let door = door.clone();
            let hasty = tokio::spawn(async move { door.enter(account(number), Urgency::Awaited).await.is_ok() });
            tokio::task::yield_now().await;
            hasty.abort();
        }
        while tasks.join_next().await.is_some() {}
        settle().await;
        assert_eq!(inside.lock().1, 4);
        let room = door.line.lock().room;
        assert_eq!((room, door.waiting()), (4, 0));
    }
}
