//! A channel of a model: a short first-in first-out queue without allocation, so that states are small and quick to copy.

/// At most `N` messages, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queue<T, const N: usize> {
    items: [Option<T>; N],
}

impl<T: Copy, const N: usize> Default for Queue<T, N> {
    fn default() -> Self {
        Self { items: [None; N] }
    }
}

impl<T: Copy, const N: usize> Queue<T, N> {
    /// Messages in it.
    pub fn len(&self) -> usize {
        self.iter().count()
    }
    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.items.first().is_none_or(Option::is_none)
    }
    /// True if another one fits below `depth` (and below `N`).
    pub fn fits(&self, depth: usize) -> bool {
        self.len() < depth.min(N)
    }
    /// Adds the newest; false if it does not fit.
    pub fn push(&mut self, item: T) -> bool {
        match self.items.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some(item);
                true
            }
            None => false,
        }
    }
    /// The message at `index`, 0 being the oldest.
    pub fn get(&self, index: usize) -> Option<T> {
        self.items.get(index).copied().flatten()
    }
    /// Takes the message at `index` out.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let item = self.get(index)?;
        self.items[index] = None;
        self.items[index..].rotate_left(1);
        Some(item)
    }
    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.items.iter().flatten().copied()
    }
    /// Oldest first, to change in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut().flatten()
    }
}
