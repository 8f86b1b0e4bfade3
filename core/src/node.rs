//! One node: what a driver steps. Dispatch to the rooms, nothing else.

use crate::io::{Boot, Effects, Input, Wake};
use crate::time::{Instant, Now};

/// A broker and controller.
#[derive(Clone, Debug)]
pub struct Node {
    boot: Boot,
}

impl Node {
    /// A node that has not started: the first step must carry [`Input::Start`].
    ///
    /// `seed` feeds every random choice: from the run in simulation, from the operating system in production.
    #[must_use]
    pub fn new(_seed: [u8; 32], boot: Boot) -> Node {
        Node { boot }
    }

    /// Takes one input at one moment and appends what must be done to `out`. Never fails.
    pub fn step(&mut self, _now: Now, _input: Input, _out: &mut Effects) {
        let _ = &self.boot;
    }

    /// When and why the node wants [`Input::Wakeup`], if nothing else happens before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<(Instant, Wake)> {
        None
    }
}
