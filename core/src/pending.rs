//! What waits for a completion: the slab behind every [`Token`].
//!
//! A slot is reused, a (slot, generation) pair never: a completion whose generation is not the slot's present one
//! finds nothing, and proves nothing. What waits is plain data of the room that issued the operation, with the
//! epochs that it was issued under; the slab knows nothing of its meaning. Each room that issues operations owns one.

use crate::io::{Room, Token};
use crate::mutant::{Mutant, Mutants};

/// A slab of waiters of type `W`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending<W> {
    room: Room,
    slots: Vec<Slot<W>>,
    free: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot<W> {
    generation: u32,
    waiter: Option<W>,
}

impl<W> Pending<W> {
    /// An empty slab; `room` is where [`crate::node::Node::step`] takes the completions.
    #[must_use]
    pub fn new(room: Room) -> Pending<W> {
        Pending {
            room,
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Registers `waiter` and names it.
    pub fn wait(&mut self, waiter: W) -> Token {
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.slots[slot as usize];
            entry.waiter = Some(waiter);
            return Token {
                room: self.room,
                slot,
                generation: entry.generation,
            };
        }
        let slot =
            u32::try_from(self.slots.len()).expect("fewer than 2^32 operations are in flight");
        self.slots.push(Slot {
            generation: 0,
            waiter: Some(waiter),
        });
        Token {
            room: self.room,
            slot,
            generation: 0,
        }
    }

    /// Takes what waited for `token`; `None` if it is stale.
    pub fn complete(&mut self, token: Token, mutants: Mutants) -> Option<W> {
        let entry = self.slots.get_mut(token.slot as usize)?;
        if entry.generation != token.generation && !mutants.has(Mutant::AcceptStaleToken) {
            return None;
        }
        let waiter = entry.waiter.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(token.slot);
        Some(waiter)
    }

    /// Gives up waiting: a completion that comes later is stale.
    pub fn cancel(&mut self, token: Token) -> Option<W> {
        self.complete(token, Mutants::NONE)
    }

    /// How many operations wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True if nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything that waits, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (Token, &W)> {
        self.slots.iter().enumerate().filter_map(|(slot, entry)| {
            let waiter = entry.waiter.as_ref()?;
            Some((
                Token {
                    room: self.room,
                    slot: u32::try_from(slot).ok()?,
                    generation: entry.generation,
                },
                waiter,
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_token_finds_nothing() {
        let mut pending = Pending::new(Room::Log);
        let first = pending.wait("first");
        assert_eq!(pending.cancel(first), Some("first"));
        let second = pending.wait("second");
        assert_eq!(
            (second.slot, second.generation),
            (first.slot, first.generation + 1)
        );
        assert_eq!(pending.complete(first, Mutants::NONE), None);
        assert_eq!(pending.len(), 1);
        assert_eq!(pending.complete(second, Mutants::NONE), Some("second"));
        assert!(pending.is_empty());
    }
}
