//! Room for numbers that was used before: fresh memory would be cleared, page by page.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

/// Bytes of the largest room that a thread keeps.
pub const KEPT: usize = 64 << 20;

thread_local! {
    static ROOMS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// So many numbers, whatever they are when it is taken. The thread that drops it keeps it for its next one.
#[derive(Debug, Default)]
pub struct Room {
    numbers: Vec<f32>,
    len: usize,
}

impl Room {
    /// The smallest that is large enough. Where none is, the largest makes way for it.
    pub fn new(len: usize) -> Self {
        let numbers = ROOMS.with_borrow_mut(|rooms| {
            let fitting = (0..rooms.len()).filter(|at| rooms[*at].len() >= len).min_by_key(|at| rooms[*at].len());
            match fitting {
                Some(at) => rooms.swap_remove(at),
                None => {
                    let largest = (0..rooms.len()).max_by_key(|at| rooms[*at].len());
                    drop(largest.map(|at| rooms.swap_remove(at)));
                    vec![0.0; len]
                }
            }
        });
        Room { numbers, len }
    }

    /// The same, all of them zero.
    pub fn zeros(len: usize) -> Self {
        let mut room = Room::new(len);
        room.fill(0.0);
        room
    }
}

impl Deref for Room {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.numbers[..self.len]
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.numbers[..self.len]
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let numbers = std::mem::take(&mut self.numbers);
        if (1..=KEPT / size_of::<f32>()).contains(&numbers.len()) {
            ROOMS.with_borrow_mut(|rooms| rooms.push(numbers));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_room_that_fits_is_used_again_and_the_largest_makes_way_for_a_larger_one() {
        let filled = |len: usize, x: f32| {
            let mut room = Room::new(len);
            room.fill(x);
            room
        };
        drop((filled(4, 1.0), filled(8, 2.0)));
        let again = Room::new(3);
        assert_eq!((&again[..], Room::new(5)[4]), (&[1.0; 3][..], 2.0));
        drop(again);
        let larger = Room::new(9);
        assert_eq!(
            (&larger[..], &Room::new(2)[..], &Room::zeros(4)[..]),
            (&[0.0; 9][..], &[1.0; 2][..], &[0.0; 4][..])
        );
        ROOMS.with_borrow(|rooms| assert_eq!(rooms.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]));
    }
}
