//! Memory that ends at a page that nothing may touch, or begins behind one. Sanitizers do not
//! instrument inline assembly; with this memory, reading one element too many ends the test.

use regraft_kernels::element::Element;

/// The end of the memory at which the guard page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Behind the last element.
    End,
    /// Before the first element.
    Start,
}

/// Elements beside a guard.
pub struct Guarded<E> {
    mapping: *mut libc::c_void,
    length: usize,
    first: *mut E,
    count: usize,
}

impl<E: Element> Guarded<E> {
    /// A copy of `values`.
    pub fn new(values: &[E], side: Side) -> Self {
        // SAFETY: these calls touch no memory of the program except the mapping that they create.
        let (mapping, length, page) = unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let length = size_of_val(values).next_multiple_of(page) + 2 * page;
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let mapping = libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0);
            assert_ne!(mapping, libc::MAP_FAILED, "memory for the test");
            for guard in [mapping, mapping.wrapping_byte_add(length - page)] {
                assert_eq!(libc::mprotect(guard, page, libc::PROT_NONE), 0, "a guard");
            }
            (mapping, length, page)
        };
        let offset = match side {
            Side::End => length - page - size_of_val(values),
            Side::Start => page,
        };
        let first = mapping.wrapping_byte_add(offset).cast::<E>();
        // SAFETY: that many bytes of the mapping are there, and it is aligned to the size of an
        // element.
        unsafe { first.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        Self { mapping, length, first, count: values.len() }
    }

    /// The elements.
    pub fn get(&self) -> &[E] {
        // SAFETY: they were written when this value was created.
        unsafe { std::slice::from_raw_parts(self.first, self.count) }
    }

    /// The elements, for writing.
    pub fn get_mut(&mut self) -> &mut [E] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.first, self.count) }
    }
}

impl<E> Drop for Guarded<E> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.mapping, self.length) };
    }
}
