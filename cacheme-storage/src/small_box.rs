//! A box that keeps small values in place.
//!
//! Values on their way through a read or a write are held in one. A future or a task is then as small for a node whose value
//! is an array of a megabyte as it is for a number, and numbers, strings and handles such as `Arc` cost no allocation. A larger value costs
//! one, on a miss and on a hit in a remote storage.
//!
//! Unsafe, because stable Rust cannot choose a field's type by the size of another. What makes it sound is kept in this file
//! alone: **`data` holds a `V` where that fits and a `Box<V>` where not**, from [`SmallBox::new`], which writes it, to `drop` or
//! [`SmallBox::into_inner`].
#![allow(unsafe_code, reason = "small values in place, see above")]

use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;

use crate::contain::drop_contained;

/// The size of a value in place, in words. A value is moved some twenty times on its way, so a larger one costs less in a box.
const WORDS: usize = 4;

type Data = MaybeUninit<[usize; WORDS]>;

/// A value, in place or in a box.
///
/// It may be dropped on behalf of others (a batch, a flight that nobody waits for any more), so a panic of the value's `Drop` goes no
/// further.
pub struct SmallBox<V> {
    data: Data,
    value: PhantomData<V>,
}

impl<V> SmallBox<V> {
    const IN_PLACE: bool = size_of::<V>() <= size_of::<Data>() && align_of::<V>() <= align_of::<Data>();

    /// The value in its box.
    #[must_use]
    pub fn new(value: V) -> Self {
        let mut data = Data::uninit();
        let place = data.as_mut_ptr();
        // SAFETY: a `V` in place fits, in size and alignment, and a `Box` always does: its value has a size.
        unsafe {
            if Self::IN_PLACE {
                place.cast::<V>().write(value);
            } else {
                place.cast::<Box<V>>().write(Box::new(value));
            }
        }
        Self {
            data,
            value: PhantomData,
        }
    }

    /// The value.
    #[must_use]
    pub fn into_inner(self) -> V {
        let this = ManuallyDrop::new(self);
        let place = this.data.as_ptr();
        // SAFETY: the data holds what `new` wrote, and nobody uses or drops it again.
        unsafe {
            if Self::IN_PLACE {
                place.cast::<V>().read()
            } else {
                *place.cast::<Box<V>>().read()
            }
        }
    }
}

impl<V> Deref for SmallBox<V> {
    type Target = V;

    fn deref(&self) -> &V {
        let place = self.data.as_ptr();
        // SAFETY: the data holds what `new` wrote, for as long as `self` is there.
        unsafe {
            if Self::IN_PLACE {
                &*place.cast::<V>()
            } else {
                &*place.cast::<Box<V>>()
            }
        }
    }
}

impl<V: Clone> Clone for SmallBox<V> {
    fn clone(&self) -> Self {
        Self::new((**self).clone())
    }
}

impl<V> Drop for SmallBox<V> {
    fn drop(&mut self) {
        let place = self.data.as_ptr();
        // SAFETY: the data holds what `new` wrote, and nobody uses or drops it again.
        unsafe {
            if Self::IN_PLACE {
                drop_contained(place.cast::<V>().read());
            } else {
                drop_contained(place.cast::<Box<V>>().read());
            }
        }
    }
}

impl<V: fmt::Debug> fmt::Debug for SmallBox<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;

    const IN_PLACE: usize = size_of::<Data>();

    fn comes_back<V: Clone + fmt::Debug + PartialEq>(value: V) {
        let held = SmallBox::new(value.clone());
        assert_eq!(*held, value);
        let copy = held.clone();
        drop(held);
        let moved = Box::new(copy);
        assert_eq!(format!("{moved:?}"), format!("{value:?}"));
        assert_eq!(moved.into_inner(), value);
    }

    #[test]
    fn small_box_gives_back_values_of_every_size_and_alignment() {
        #[derive(Clone, Debug, PartialEq)]
        #[repr(align(16))]
        struct Wide(u8);
        #[derive(Clone, Debug, PartialEq)]
        #[repr(align(256))]
        struct Wider(u8);

        comes_back(());
        comes_back(7u8);
        comes_back(u128::MAX);
        comes_back(Wide(1));
        comes_back(Wider(2));
        comes_back(String::from("text"));
        comes_back(None::<Arc<str>>);
        comes_back([7u8; IN_PLACE]);
        comes_back([7u8; IN_PLACE + 1]);
        comes_back([7u64; 10_000]);
        comes_back([String::from("a"), String::from("b")]);
        comes_back([const { String::new() }; 40]);
    }

    #[test]
    fn small_box_is_as_small_as_it_says() {
        assert_eq!(size_of::<SmallBox<u8>>(), IN_PLACE);
        assert_eq!(size_of::<SmallBox<[u8; 65_536]>>(), IN_PLACE);
    }

    fn drops_once<V>(make: impl Fn(Arc<()>) -> V) {
        let counted = Arc::new(());
        drop(SmallBox::new(make(Arc::clone(&counted))));
        assert_eq!(Arc::strong_count(&counted), 1);
        let value = SmallBox::new(make(Arc::clone(&counted))).into_inner();
        assert_eq!(Arc::strong_count(&counted), 2);
        drop(value);
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn small_box_drops_every_value_once() {
        drops_once(|counted| counted);
        drops_once(|counted| (counted, [0u64; 99]));
    }

    /// Panics when it is dropped, and when it is cloned.
    struct Cursed<const N: usize> {
        _counted: Arc<()>,
        bytes: [u8; N],
    }

    impl<const N: usize> Clone for Cursed<N> {
        fn clone(&self) -> Self {
            panic!("{N} bytes are not to be cloned")
        }
    }

    impl<const N: usize> Drop for Cursed<N> {
        fn drop(&mut self) {
            assert!(self.bytes.is_empty(), "{N} bytes are cursed");
        }
    }

    fn panics<const N: usize>() {
        let counted = Arc::new(());
        let held = SmallBox::new(Cursed {
            _counted: Arc::clone(&counted),
            bytes: [0; N],
        });
        assert!(catch_unwind(AssertUnwindSafe(|| held.clone())).is_err());
        assert_eq!(Arc::strong_count(&counted), 2);
        drop(held);
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn t2_small_box_contains_panics_of_drop() {
        panics::<1>();
        panics::<1_000>();
    }
}
