//! The bytes of a file as pages. Images share a page until one of them writes to it. So a disk that crashes,
//! restarts or syncs copies only pages that change. Space that is only allocated takes no memory.

use std::sync::Arc;

const PAGE_SIZE: usize = 4096;

type Page = [u8; PAGE_SIZE];

/// The bytes of a file. Cloning shares all pages.
#[derive(Clone, Default)]
pub(super) struct Image {
    len: usize,
    /// As many pages as `len` bytes need; `None` for a page of zeros. Bytes of the last page from `len` on
    /// are zeros.
    pages: Vec<Option<Arc<Page>>>,
}

impl Image {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut image = Self::default();
        image.resize(bytes.len());
        image.write(0, bytes);
        image
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Cuts the end off, or adds zeros.
    pub(super) fn resize(&mut self, len: usize) {
        self.pages.resize(len.div_ceil(PAGE_SIZE), None);
        let kept = len % PAGE_SIZE;
        if len < self.len
            && kept != 0
            && let Some(Some(page)) = self.pages.last_mut()
        {
            Arc::make_mut(page)[kept..].fill(0);
        }
        self.len = len;
    }

    /// # Panics
    /// When the bytes end after the image does.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.len, "a write stays within the image");
        let mut rest = bytes;
        for (number, start, end) in pieces(offset, offset + bytes.len()) {
            let (piece, others) = rest.split_at(end - start);
            rest = others;
            self.page_mut(number)[start..end].copy_from_slice(piece);
        }
    }

    /// # Panics
    /// When the buffer asks for bytes after the end of the image.
    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) {
        assert!(offset + buffer.len() <= self.len, "a read stays within the image");
        let mut rest = buffer;
        for (number, start, end) in pieces(offset, offset + rest.len()) {
            let (piece, others) = rest.split_at_mut(end - start);
            rest = others;
            match &self.pages[number] {
                Some(page) => piece.copy_from_slice(&page[start..end]),
                None => piece.fill(0),
            }
        }
    }

    /// Copies the bytes from `start` to `end` of `other` to the same place; whole pages are shared.
    ///
    /// # Panics
    /// When one of the images ends before `end`.
    pub(super) fn copy_from(&mut self, other: &Self, start: usize, end: usize) {
        assert!(end <= self.len.min(other.len), "both images have the bytes");
        for (number, start, end) in pieces(start, end) {
            match &other.pages[number] {
                page if end - start == PAGE_SIZE => self.pages[number].clone_from(page),
                Some(page) => self.page_mut(number)[start..end].copy_from_slice(&page[start..end]),
                None => self.page_mut(number)[start..end].fill(0),
            }
        }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.read(0, &mut bytes);
        bytes
    }

    fn page_mut(&mut self, number: usize) -> &mut Page {
        Arc::make_mut(self.pages[number].get_or_insert_with(|| Arc::new([0; PAGE_SIZE])))
    }
}

/// The pages that hold the bytes from `start` to `end`: for each its number, and where the bytes start and
/// end in it.
fn pieces(start: usize, end: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (start / PAGE_SIZE..end.div_ceil(PAGE_SIZE)).map(move |number| {
        let first = number * PAGE_SIZE;
        (number, start.max(first) - first, end.min(first + PAGE_SIZE) - first)
    })
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    /// The same operations on an image and on a vector of bytes.
    #[test]
    fn an_image_is_what_a_vector_would_be() {
        let mut random = Random::new(7);
        let mut below = |limit: usize| usize::try_from(random.below(limit as u64)).unwrap();
        let (mut image, mut bytes) = (Image::default(), Vec::new());
        let (mut other, mut other_bytes) = (Image::default(), Vec::<u8>::new());
        for round in 0..3_000 {
            match below(5) {
                0 => {
                    let len = below(5 * PAGE_SIZE);
                    image.resize(len);
                    bytes.resize(len, 0);
                }
                1 if !bytes.is_empty() => {
                    let start = below(bytes.len());
                    let piece = vec![u8::try_from(round % 256).unwrap(); below(bytes.len() - start + 1)];
                    image.write(start, &piece);
                    bytes[start..start + piece.len()].copy_from_slice(&piece);
                }
                2 => (other, other_bytes) = (image.clone(), bytes.clone()),
                3 => {
                    let end = below(bytes.len().min(other_bytes.len()) + 1);
                    let start = below(end + 1);
                    other.copy_from(&image, start, end);
                    other_bytes[start..end].copy_from_slice(&bytes[start..end]);
                }
                _ => {
                    std::mem::swap(&mut image, &mut other);
                    std::mem::swap(&mut bytes, &mut other_bytes);
                }
            }
            assert_eq!((image.len(), image.to_vec()), (bytes.len(), bytes.clone()), "round {round}");
            assert_eq!(other.to_vec(), other_bytes, "round {round}");
        }
    }

    #[test]
    fn allocated_space_and_copies_take_no_memory() {
        let mut image = Image::default();
        image.resize(1 << 30);
        assert!(image.pages.iter().all(Option::is_none));
        image.write(PAGE_SIZE, &[1; PAGE_SIZE]);
        let mut copy = Image::default();
        copy.resize(2 * PAGE_SIZE);
        copy.copy_from(&image, 0, 2 * PAGE_SIZE);
        assert!(Arc::ptr_eq(image.pages[1].as_ref().unwrap(), copy.pages[1].as_ref().unwrap()));
    }
}
