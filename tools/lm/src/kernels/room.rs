//! Room for numbers that was used before: fresh memory would be cleared, page by page.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Numbers of the largest room that is kept: 64 MiB.
const KEPT: usize = 16 << 20;

/// Rooms of all threads, of which there are never more than were in use at once.
static ROOMS: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

fn rooms() -> MutexGuard<'static, Vec<Vec<f32>>> {
    ROOMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frees what is kept.
pub fn clear() {
    rooms().clear();
}

/// So many numbers, whatever they are when it is taken. When it is dropped it is kept for the next one.
#[derive(Debug, Default)]
pub struct Room {
    numbers: Vec<f32>,
    len: usize,
}

impl Room {
    /// The smallest that is large enough. Where none is, the largest makes way for it.
    pub fn new(len: usize) -> Self {
        let numbers = take(&mut rooms(), len);
        Room { numbers: numbers.unwrap_or_else(|| vec![0.0; len]), len }
    }

    /// The same, all of them zero.
    pub fn zeros(len: usize) -> Self {
        let mut room = Room::new(len);
        room.fill(0.0);
        room
    }
}

fn take(rooms: &mut Vec<Vec<f32>>, len: usize) -> Option<Vec<f32>> {
    let fitting = (0..rooms.len()).filter(|at| rooms[*at].len() >= len).min_by_key(|at| rooms[*at].len());
    if fitting.is_none() && len <= KEPT {
        let largest = (0..rooms.len()).max_by_key(|at| rooms[*at].len());
        drop(largest.map(|at| rooms.swap_remove(at)));
    }
    fitting.map(|at| rooms.swap_remove(at))
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
        if (1..=KEPT).contains(&numbers.len()) {
            rooms().push(numbers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_room_that_fits_is_used_again_and_the_largest_makes_way_for_a_larger_one() {
        let rooms = |sizes: &[usize]| sizes.iter().map(|len| vec![0.0; *len]).collect::<Vec<_>>();
        let taken = |sizes: &[usize], len: usize| {
            let mut rooms = rooms(sizes);
            let taken = take(&mut rooms, len).map(|numbers| numbers.len());
            (taken, rooms.iter().map(Vec::len).collect::<Vec<_>>())
        };
        assert_eq!(taken(&[8, 4, 6], 3), (Some(4), vec![8, 6]));
        assert_eq!(taken(&[8, 4, 6], 5), (Some(6), vec![8, 4]));
        assert_eq!(taken(&[4, 8, 6], 9), (None, vec![4, 6]));
        assert_eq!(taken(&[4], KEPT + 1), (None, vec![4]));
        assert_eq!(taken(&[], 1), (None, vec![]));
    }

    #[test]
    fn a_room_has_the_length_that_was_asked_for() {
        let mut room = Room::new(5);
        room.fill(f32::NAN);
        drop(room);
        assert_eq!((Room::new(3).len(), &Room::zeros(4)[..]), (3, &[0.0; 4][..]));
    }
}
