//! Values without their type.
//!
//! Unsafe, because a value of up to three words lies in place of a pointer to it: an `Arc` that is cached, which is what a value
//! asked for often should be, is then found without another cache miss. An `Arc<dyn Any>` puts a box around every value. What
//! makes it sound is kept in this file alone: **`data` holds what `vtable` was made for**, from [`LocalValue::new`], which
//! writes both, to `drop`.
#![allow(unsafe_code, reason = "small values in place, see above")]

use std::any::{Any, TypeId};
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::Arc;

use crate::contain::drop_contained;

/// A value as a local storage keeps it: without its type, and cheap to clone where its own type is.
///
/// Values of at most three words (an `Arc`, a number, each with another word beside it) are kept in place and cloned as they are; all
/// others are shared by their clones. Any thread may drop it, so a panic of the value's own `Drop` is logged and goes no further.
///
/// ```
/// use cacheme_storage::LocalValue;
///
/// let value = LocalValue::new(String::from("a"));
/// assert_eq!(value.clone().downcast_ref::<String>().unwrap(), "a");
/// assert!(value.downcast_ref::<u64>().is_none());
/// ```
pub struct LocalValue {
    vtable: &'static Vtable,
    data: Data,
}

/// Three words, of anything that fits.
type Data = MaybeUninit<[*const (); 3]>;

/// The operations on values of one type.
struct Vtable {
    value: TypeId,
    /// # Safety
    ///
    /// The data must hold what the table is for.
    clone: unsafe fn(&Data) -> Data,
    /// # Safety
    ///
    /// The data must hold what the table is for, and must not be used again.
    drop: unsafe fn(&mut Data),
}

/// The table for values of type `T` that are held as an `H`: as they are, or behind an `Arc`.
struct As<T, H>(PhantomData<(T, H)>);

impl<T: Any, H: Clone> As<T, H> {
    const VTABLE: &'static Vtable = &Vtable {
        value: TypeId::of::<T>(),
        // SAFETY: the data holds an `H`, as the caller promises.
        clone: |data| write(unsafe { &*data.as_ptr().cast::<H>() }.clone()),
        // SAFETY: as before, and nobody uses it again.
        drop: |data| drop_contained(unsafe { data.as_ptr().cast::<H>().read() }),
    };
}

const fn fits<H>() -> bool {
    size_of::<H>() <= size_of::<Data>() && align_of::<H>() <= align_of::<Data>()
}

fn write<H>(held: H) -> Data {
    assert!(fits::<H>(), "what does not fit is held behind an `Arc`");
    let mut data = Data::uninit();
    // SAFETY: it fits, in size and alignment.
    unsafe { data.as_mut_ptr().cast::<H>().write(held) };
    data
}

impl LocalValue {
    /// The value without its type.
    #[must_use]
    pub fn new<T: Any + Clone + Send + Sync>(value: T) -> Self {
        if fits::<T>() {
            Self {
                vtable: As::<T, T>::VTABLE,
                data: write(value),
            }
        } else {
            Self {
                vtable: As::<T, Arc<T>>::VTABLE,
                data: write(Arc::new(value)),
            }
        }
    }

    /// The value, if it is of type `T`.
    #[must_use]
    #[inline]
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        if self.vtable.value != TypeId::of::<T>() {
            return None;
        }
        let data = self.data.as_ptr();
        // SAFETY: the value is a `T`, and `new` holds what fits in place and all else behind an `Arc`.
        Some(unsafe {
            if fits::<T>() {
                &*data.cast::<T>()
            } else {
                &*data.cast::<Arc<T>>()
            }
        })
    }
}

impl Clone for LocalValue {
    #[inline]
    fn clone(&self) -> Self {
        Self {
            vtable: self.vtable,
            // SAFETY: the data holds what the table is for.
            data: unsafe { (self.vtable.clone)(&self.data) },
        }
    }
}

impl Drop for LocalValue {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as before, and the value is gone afterwards.
        unsafe { (self.vtable.drop)(&mut self.data) }
    }
}

// SAFETY: `new` takes only what can be sent and shared, and clones it only behind a shared reference.
unsafe impl Send for LocalValue {}
// SAFETY: as before.
unsafe impl Sync for LocalValue {}

impl fmt::Debug for LocalValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalValue").field(&self.vtable.value).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::sync::Weak;

    use super::*;

    fn comes_back<T: Any + Clone + Debug + PartialEq + Send + Sync>(value: T) {
        let erased = LocalValue::new(value.clone());
        let copy = erased.clone();
        assert_eq!(erased.downcast_ref(), Some(&value));
        drop(erased);
        let moved = Box::new(copy);
        assert_eq!(moved.downcast_ref(), Some(&value));
        struct Stranger;
        assert!(moved.downcast_ref::<Stranger>().is_none());
    }

    #[test]
    fn values_of_every_size_and_alignment_come_back() {
        #[derive(Clone, Debug, PartialEq)]
        #[repr(align(16))]
        struct Wide(u8);
        #[derive(Clone, Debug, PartialEq)]
        #[repr(align(128))]
        struct Wider(u8);

        comes_back(());
        comes_back(7u8);
        comes_back((7u64, 8u64));
        comes_back(u128::MAX);
        comes_back((1u64, 2u64, 3u64));
        comes_back((1u64, 2u64, 3u64, 4u8));
        comes_back(Wide(1));
        comes_back(Wider(2));
        comes_back(String::from("text"));
        comes_back(Arc::<str>::from("text"));
        comes_back(None::<Arc<u8>>);
        comes_back([7u8; 1000]);
        comes_back(Vec::<String>::new());
    }

    #[test]
    fn every_value_is_dropped_once() {
        fn leaves_nothing<T: Any + Clone + Send + Sync>(make: impl Fn(Arc<()>) -> T) {
            let counted = Arc::new(());
            let weak: Weak<()> = Arc::downgrade(&counted);
            let one = LocalValue::new(make(counted));
            let two = one.clone();
            drop(one);
            assert_eq!(weak.strong_count(), 1);
            drop(two);
            assert_eq!(weak.strong_count(), 0);
        }
        leaves_nothing(|counted| counted);
        leaves_nothing(|counted| (counted, [0u64; 9]));
    }

    #[test]
    fn a_clone_that_panics_leaves_the_value() {
        #[derive(Debug)]
        struct Cursed(Arc<()>);
        impl Clone for Cursed {
            fn clone(&self) -> Self {
                panic!("cursed")
            }
        }
        let counted = Arc::new(());
        let value = LocalValue::new(Cursed(Arc::clone(&counted)));
        let cloning = std::panic::AssertUnwindSafe(|| value.clone());
        assert!(std::panic::catch_unwind(cloning).is_err());
        assert_eq!(
            value
                .downcast_ref::<Cursed>()
                .map(|cursed| Arc::strong_count(&cursed.0)),
            Some(2)
        );
        drop(value);
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn it_is_as_small_as_it_says() {
        assert_eq!(size_of::<Option<LocalValue>>(), 32);
    }
}
