//! What a controller remembers of writes that were refused: those before the status are left out for a while, or their pass would never
//! get as far as the status.

use scribe_core::observed::Refusal;

/// The pause before a write that was refused is tried again, in seconds.
pub const PAUSE: i64 = 30;

#[derive(Clone, Debug, Default)]
pub struct Refusals {
    left_out: Vec<Known>,
    tried: Option<Refusal>,
}

#[derive(Clone, Debug)]
struct Known {
    refusal: Refusal,
    retry_at: i64,
}

impl Refusals {
    /// What a pass that begins now is to know.
    pub fn show(&mut self, now: i64) -> Vec<Refusal> {
        self.left_out.retain(|known| now < known.retry_at && known.retry_at <= now + PAUSE);
        let left_out = self.left_out.iter().map(|known| &known.refusal);
        left_out.chain(&self.tried).cloned().collect()
    }

    pub fn add(&mut self, refusal: Refusal, is_recorded: bool, now: i64) {
        if is_recorded {
            self.tried = Some(refusal);
        } else if self.left_out.iter().all(|known| known.refusal.object != refusal.object) {
            self.left_out.push(Known { refusal, retry_at: now + PAUSE });
        }
    }

    /// A pass did all that it wanted to.
    pub fn done(&mut self) {
        self.tried = None;
    }

    pub fn retry_at(&self) -> Option<i64> {
        self.left_out.iter().map(|known| known.retry_at).min()
    }
}
