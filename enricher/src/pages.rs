//! A list of what is large: it grows without moving what is in it.

/// How many elements stand side by side.
const PAGE: usize = 64;

/// Elements by number, in pages.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    pages: Vec<Vec<T>>,
    length: usize,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), length: 0 }
    }
}

impl<T> Pages<T> {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Appends an element; its number is the length before.
    pub(crate) fn push(&mut self, element: T) {
        if self.length.is_multiple_of(PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        if let Some(page) = self.pages.last_mut() {
            page.push(element);
        }
        self.length += 1;
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let number = usize::try_from(number).ok()?;
        self.pages.get(number / PAGE)?.get(number % PAGE)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let number = usize::try_from(number).ok()?;
        self.pages.get_mut(number / PAGE)?.get_mut(number % PAGE)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }
}
